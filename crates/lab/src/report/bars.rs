//! Bars beside their names: shares, counts, what is used of what there is.

use anyhow::Result;
use plotters::prelude::{PathElement, Rectangle, Text};
use plotters::style::{Color, IntoFont};

use super::svg::{Canvas, Colour, draw};
use super::{Plot, Tone};

/// Height of a bar with its gap.
const ROW: i32 = 20;
const TOP: i32 = 22;
const WIDTH: i32 = 860;
/// Room for what stands behind a bar.
const BEHIND: i32 = 130;
/// Width of a letter, about.
const LETTER: f64 = 6.6;
/// Names longer than this are cut off by the edge.
const NAME_MAX: i32 = 440;

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    name: String,
    value: f64,
    shown: String,
    tone: Option<Tone>,
    mark: Option<f64>,
}

impl Bar {
    /// Its name, its length, and what stands behind it.
    #[must_use]
    pub fn new(name: &str, value: f64, shown: &str) -> Self {
        Self {
            name: name.to_owned(),
            value,
            shown: shown.to_owned(),
            tone: None,
            mark: None,
        }
    }

    /// With a colour.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        let tone = Some(tone);
        Self { tone, ..self }
    }

    /// With a mark where it should end.
    #[must_use]
    pub fn mark(self, mark: f64) -> Self {
        let mark = Some(mark);
        Self { mark, ..self }
    }

    fn colour(&self) -> Colour {
        match self.tone {
            None => Colour::Curve0,
            Some(Tone::Good) => Colour::Good,
            Some(Tone::Fair) => Colour::Fair,
            Some(Tone::Bad) => Colour::Bad,
        }
    }
}

/// Bars below each other.
#[derive(Clone, Debug)]
pub struct Bars {
    title: String,
    bars: Vec<Bar>,
    limit: Option<(f64, String)>,
    longest: f64,
}

impl Bars {
    /// Without bars yet.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            bars: Vec::new(),
            limit: None,
            longest: f64::INFINITY,
        }
    }

    /// With one more bar.
    #[must_use]
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bars.push(bar);
        self
    }

    /// With a line down through all bars, and its name.
    #[must_use]
    pub fn limit(self, at: f64, name: &str) -> Self {
        let limit = Some((at, name.to_owned()));
        Self { limit, ..self }
    }

    /// With bars cut off beyond this; what stands behind them says how long they were.
    #[must_use]
    pub fn cut(self, longest: f64) -> Self {
        Self { longest, ..self }
    }

    /// Where the bars begin.
    fn left(&self) -> i32 {
        let letters = self.bars.iter().map(|bar| bar.name.chars().count()).max();
        let width = letters.unwrap_or(0) as f64 * LETTER;
        (width as i32 + 16).min(NAME_MAX)
    }

    /// Pixels of one.
    fn unit(&self) -> f64 {
        let marks = self.bars.iter().filter_map(|bar| bar.mark);
        let values = self.bars.iter().map(|bar| bar.value);
        let limit = self.limit.iter().map(|(at, _)| *at);
        let all = values.chain(marks).chain(limit).filter(|v| v.is_finite());
        let longest = all.fold(0.0, f64::max).min(self.longest);
        let room = f64::from(WIDTH - self.left() - BEHIND);
        if longest > 0.0 { room / longest } else { 0.0 }
    }

    fn end(&self, value: f64) -> i32 {
        let value = if value.is_nan() { 0.0 } else { value };
        self.left() + (value.clamp(0.0, self.longest.min(f64::MAX)) * self.unit()) as i32
    }

    /// Where to begin what would begin at `x`, so that the limit's line does not go through it.
    fn clear_of_limit(&self, x: i32, shown: &str) -> i32 {
        let end = x + (shown.chars().count() as f64 * LETTER) as i32;
        let limit = self.limit.as_ref().map(|(at, _)| self.end(*at));
        match limit {
            Some(limit) if (x..=end).contains(&limit) => limit + 6,
            _ => x,
        }
    }

    fn paint(&self, canvas: &Canvas<'_>, height: i32) -> Result<()> {
        for (index, bar) in self.bars.iter().enumerate() {
            let top = TOP + ROW * index as i32;
            let end = self.end(bar.value);
            let corners = [(self.left(), top), (end, top + ROW - 6)];
            canvas.draw(&Rectangle::new(corners, bar.colour().rgb().filled()))?;
            let mark = bar.mark.map(|mark| self.end(mark));
            if let Some(x) = mark {
                canvas.draw(&stroke((x, top - 2), (x, top + ROW - 4), Colour::Mark))?;
            }
            text(canvas, &bar.name, 6, top)?;
            let behind = end.max(mark.unwrap_or(0)) + 6;
            text(
                canvas,
                &bar.shown,
                self.clear_of_limit(behind, &bar.shown),
                top,
            )?;
        }
        if let Some((at, name)) = &self.limit {
            let x = self.end(*at);
            text(canvas, name, x + 4, 2)?;
            canvas.draw(&stroke((x, 4), (x, height - 4), Colour::Ink))?;
        }
        Ok(())
    }
}

impl Plot for Bars {
    fn title(&self) -> &str {
        &self.title
    }

    fn legend(&self) -> Vec<&str> {
        Vec::new()
    }

    fn svg(&self) -> Result<String> {
        let height = TOP + ROW * self.bars.len() as i32 + 6;
        draw((WIDTH as u32, height as u32), |canvas| {
            self.paint(canvas, height)
        })
    }
}

fn stroke(from: (i32, i32), to: (i32, i32), colour: Colour) -> PathElement<(i32, i32)> {
    PathElement::new(vec![from, to], colour.rgb())
}

fn text(canvas: &Canvas<'_>, text: &str, x: i32, y: i32) -> Result<()> {
    let font = ("sans-serif", 14).into_font();
    canvas.draw(&Text::new(text.to_owned(), (x, y), font))?;
    Ok(())
}
