//! Two kinds of plot: how far each figure is from where it must be, and cycles by packet size.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::measure::Verdict;

/// One line of a plot.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const COLOURS: [RGBColor; 7] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x7f, 0x7f, 0x7f),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
];
const AIM_MET: RGBColor = RGBColor(0x4c, 0xae, 0x4c);
const MET: RGBColor = RGBColor(0xe0, 0xb8, 0x30);
const NOT_MET: RGBColor = RGBColor(0xd9, 0x53, 0x4f);

/// Height of a bar with its gap.
const ROW: i32 = 20;
/// Where bars begin: names stand before.
const LEFT: i32 = 440;
/// From no cost at all to what must be.
const UNIT: f64 = 220.0;
/// The longest bar, in units; what is longer is cut, and its number says how much it is.
const LONGEST: f64 = 2.5;
const TOP: i32 = 40;

/// A bar for each figure: its length is the cost over what must be, so that a bar that ends left of
/// the line meets it. A mark shows the aim.
pub(crate) fn figures(verdicts: &[Verdict]) -> Result<String> {
    let mut svg = String::new();
    let height = TOP + ROW * verdicts.len() as i32 + 20;
    let width = LEFT + (UNIT * LONGEST) as i32 + 90;
    {
        let area =
            SVGBackend::with_string(&mut svg, (width as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        text(&area, "must", LEFT + UNIT as i32 - 14, 18)?;
        for (index, verdict) in verdicts.iter().enumerate() {
            bar(&area, verdict, TOP + ROW * index as i32)?;
        }
        let x = LEFT + UNIT as i32;
        let line = vec![(x, TOP - 6), (x, height - 14)];
        area.draw(&PathElement::new(line, BLACK.stroke_width(1)))?;
        area.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn bar(area: &Area<'_>, verdict: &Verdict, y: i32) -> Result<()> {
    let share = |value: f64| verdict.share_of_must(value).clamp(0.0, LONGEST);
    let end = |value: f64| LEFT + (share(value) * UNIT) as i32;
    let colour = match (verdict.meets_aim, verdict.meets_must) {
        (true, _) => AIM_MET,
        (false, true) => MET,
        (false, false) => NOT_MET,
    };
    let corners = [(LEFT, y), (end(verdict.value), y + ROW - 6)];
    area.draw(&Rectangle::new(corners, colour.filled()))?;
    let aim = end(verdict.aim);
    let mark = vec![(aim, y - 2), (aim, y + ROW - 4)];
    area.draw(&PathElement::new(mark, BLUE.stroke_width(2)))?;
    text(area, verdict.name, 6, y)?;
    let digits = if verdict.value.abs() < 20.0 { 2 } else { 0 };
    let value = format!("{:.digits$} {}", verdict.value, verdict.unit);
    text(area, &value, end(verdict.value).max(aim) + 6, y)
}

fn text(area: &Area<'_>, text: &str, x: i32, y: i32) -> Result<()> {
    let font = ("sans-serif", 13).into_font();
    area.draw(&Text::new(text.to_owned(), (x, y), font))?;
    Ok(())
}

/// Cycles by size, both on logarithmic axes.
pub(crate) fn curves(title: &str, curves: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let costs = || points().map(|(_, cost)| *cost);
    let lowest = costs().fold(f64::INFINITY, f64::min) * 0.7;
    let highest = costs().fold(0.0, f64::max) * 1.5;
    if !lowest.is_finite() {
        return Ok(svg);
    }
    {
        let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{title}: cycles a packet"), ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d((56.0..1600.0).log_scale(), (lowest..highest).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("octets of ciphertext")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .light_line_style(WHITE)
            .draw()?;
        for (curve, colour) in curves.iter().zip(COLOURS) {
            let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2));
            chart
                .draw_series(line.point_size(3))?
                .label(curve.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(0xcc, 0xcc, 0xcc))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}
