//! Curves over axes: something over time or size, and latencies by percentile.

use std::ops::Range;

use anyhow::Result;
use hdrhistogram::Histogram;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::{ChartBuilder, Circle, IntoLogRange, LineSeries, PathElement, Ranged};
use plotters::style::{Color, IntoFont, TRANSPARENT, TextStyle};

use super::svg::{Canvas, Colour, draw};
use super::{Plot, short};

const SIZE: (u32, u32) = (680, 300);
/// A curve of no more points than this shows where they are.
const DOTTED: usize = 24;
/// What plotters takes a letter to be; the style sheet says what it is.
const LETTERS: u32 = 14;

/// Curves over a pair of axes.
#[derive(Clone, Debug)]
pub struct Lines {
    title: String,
    axes: [Axis; 2],
    curves: Vec<(String, Vec<(f64, f64)>)>,
    /// Heights at which a line goes right across.
    limits: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Axis {
    name: String,
    is_log: bool,
    label: fn(f64) -> String,
}

impl Axis {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_log: false,
            label: short,
        }
    }

    /// What the axis has to hold, with a little air.
    fn range(&self, values: impl Iterator<Item = f64>) -> Range<f64> {
        let usable = values.filter(|v| v.is_finite() && (!self.is_log || *v > 0.0));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        match (low <= high, self.is_log) {
            (false, _) => 1.0..10.0,
            (true, true) => low * 0.8..high * 1.25,
            (true, false) if low == high => low.min(0.0)..high.max(1.0),
            (true, false) => low.min(if low < high / 4.0 { 0.0 } else { low })..high,
        }
    }

    /// What stands at a line of the grid, in a range that goes so many times up. Towards the end of a decade
    /// logarithmic lines are closer than words are wide.
    fn label(&self, value: f64, times: f64) -> String {
        let is_close = self.is_log && times > 4.0 && leading_digit(value) > 5;
        if is_close {
            String::new()
        } else {
            (self.label)(value)
        }
    }
}

/// The first digit of a positive number that is not 0.
fn leading_digit(value: f64) -> u32 {
    let decade = 10f64.powf(value.log10().floor());
    (value / decade).round() as u32
}

impl Lines {
    /// Without curves yet; `x` and `y` say what is on the axes, and in what unit.
    #[must_use]
    pub fn new(title: &str, x: &str, y: &str) -> Self {
        Self {
            title: title.to_owned(),
            axes: [x, y].map(Axis::new),
            curves: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// With a logarithmic horizontal axis; points that are not positive are left out.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.axes[0].is_log = true;
        self
    }

    /// With a logarithmic vertical axis; points that are not positive are left out.
    #[must_use]
    pub fn log_y(mut self) -> Self {
        self.axes[1].is_log = true;
        self
    }

    /// With one more curve.
    #[must_use]
    pub fn line(mut self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().collect();
        self.curves.push((name.to_owned(), points));
        self
    }

    /// With a line right across, at a height that must not be crossed or is wished for.
    #[must_use]
    pub fn limit(mut self, height: f64) -> Self {
        self.limits.push(height);
        self
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.curves.iter().flat_map(|(_, points)| points).copied()
    }

    fn paint<X, Y>(&self, canvas: &Canvas<'_>, x: X, y: Y, width: Range<f64>) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(canvas)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(x, y)?;
        let [across, above] = &self.axes;
        let letters = TextStyle::from(("sans-serif", LETTERS).into_font());
        chart
            .configure_mesh()
            .x_desc(across.name.as_str())
            .y_desc(above.name.as_str())
            .x_label_formatter(&|value| across.label(*value, width.end / width.start))
            .y_label_formatter(&|value| (above.label)(*value))
            .label_style(letters.clone())
            .axis_desc_style(letters)
            .y_labels(6)
            .light_line_style(TRANSPARENT)
            .bold_line_style(Colour::Grid.rgb())
            .axis_style(Colour::Grid.rgb())
            .draw()?;
        for (index, (_, points)) in self.curves.iter().enumerate() {
            let colour = Colour::curve(index).rgb();
            let points = points.iter().copied().filter(|point| self.can_show(*point));
            let points: Vec<_> = points.collect();
            if points.len() <= DOTTED {
                let dot = |point: &(f64, f64)| Circle::new(*point, 3, colour.filled());
                chart.draw_series(points.iter().map(dot))?;
            }
            chart.draw_series(LineSeries::new(points, colour))?;
        }
        let limits = self.limits.iter().map(|height| {
            let ends = vec![(width.start, *height), (width.end, *height)];
            PathElement::new(ends, Colour::Mark.rgb())
        });
        chart.draw_series(limits)?;
        Ok(())
    }

    fn can_show(&self, (x, y): (f64, f64)) -> bool {
        let is_fine = |axis: &Axis, v: f64| v.is_finite() && (!axis.is_log || v > 0.0);
        is_fine(&self.axes[0], x) && is_fine(&self.axes[1], y)
    }
}

impl Plot for Lines {
    fn title(&self) -> &str {
        &self.title
    }

    fn legend(&self) -> Vec<&str> {
        self.curves.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn svg(&self) -> Result<String> {
        let [across, above] = &self.axes;
        let x = across.range(self.points().map(|point| point.0));
        let heights = self.points().map(|point| point.1);
        let y = above.range(heights.chain(self.limits.iter().copied()));
        let width = x.clone();
        draw(SIZE, |canvas| match (across.is_log, above.is_log) {
            (false, false) => self.paint(canvas, x, y, width),
            (false, true) => self.paint(canvas, x, y.log_scale(), width),
            (true, false) => self.paint(canvas, x.log_scale(), y, width),
            (true, true) => self.paint(canvas, x.log_scale(), y.log_scale(), width),
        })
    }
}

/// Latencies by percentile; each step to the right is ten times rarer.
#[derive(Clone, Debug)]
pub struct Percentiles(Lines);

/// Points of a curve between one percentile and the one that is ten times rarer.
const STEPS: u32 = 12;

impl Percentiles {
    /// Without curves yet.
    #[must_use]
    pub fn new(title: &str, unit: &str) -> Self {
        let mut lines = Lines::new(title, "percentile", unit).log_y();
        lines.axes[0].label = percentile;
        Self(lines)
    }

    /// With one more curve; `scale` makes the plot's unit of the histogram's.
    #[must_use]
    pub fn histogram(self, name: &str, times: &Histogram<u64>, scale: f64) -> Self {
        // As far as one value in a hundred is still left to say something.
        let rarest = (times.len() as f64).log10().max(0.0);
        let steps = 0..=(rarest * f64::from(STEPS)) as u32;
        let points = steps.map(|step| {
            let rarity = f64::from(step) / f64::from(STEPS);
            let value = times.value_at_quantile(1.0 - 10f64.powf(-rarity));
            (rarity, value as f64 * scale)
        });
        let points = if times.is_empty() {
            Vec::new()
        } else {
            points.collect()
        };
        Self(self.0.line(name, points))
    }
}

/// The percentile that only one in ten to the power of `rarity` exceeds.
fn percentile(rarity: f64) -> String {
    let percent = 100.0 - 100.0 * 10f64.powf(-rarity);
    let digits = (rarity.ceil() as usize).saturating_sub(2);
    format!("{percent:.digits$} %")
}

impl Plot for Percentiles {
    fn title(&self) -> &str {
        &self.0.title
    }

    fn legend(&self) -> Vec<&str> {
        self.0.legend()
    }

    fn svg(&self) -> Result<String> {
        self.0.svg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_written_with_the_nines_that_they_need() {
        let shown = [0.0, 1.0, 2.0, 3.0, 4.0].map(percentile);
        assert_eq!(shown, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn a_logarithmic_axis_has_no_words_where_they_would_run_into_each_other() {
        let axis = Axis {
            is_log: true,
            ..Axis::new("octets")
        };
        let shown = |times| [1.0, 5.0, 60.0, 100.0, 500.0, 900.0].map(|v| axis.label(v, times));
        assert_eq!(shown(20.0), ["1", "5", "", "100", "500", ""]);
        assert_eq!(shown(2.0), ["1", "5", "60", "100", "500", "900"]);
    }

    #[test]
    fn a_percentile_curve_ends_at_the_longest() {
        let mut times = Histogram::<u64>::new(3).unwrap();
        (1..=1000).for_each(|n| times.record(n).unwrap());
        let plot = Percentiles::new("latency", "µs").histogram("up", &times, 1.0);
        let (_, points) = &plot.0.curves[0];
        assert_eq!(points.last().unwrap().0, 3.0);
        assert!((points.last().unwrap().1 - 999.0).abs() <= 1.0);
        let tenth = points.iter().find(|point| point.0 == 1.0).unwrap();
        assert!((tenth.1 - 900.0).abs() <= 1.0);
    }
}
