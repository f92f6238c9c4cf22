//! A back end for plotters that writes for a page with a style sheet: every colour is a class, and
//! neighbouring strokes of one colour are one path.

use std::convert::Infallible;
use std::fmt::Write;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, IntoDrawingArea, RGBColor};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontTransform,
};

use super::escape;

/// Something to draw on.
pub(super) type Canvas<'s> = DrawingArea<Svg<'s>, Shift>;

/// Draws on a canvas of so many pixels.
pub(super) fn draw(
    size: (u32, u32),
    paint: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let (mut body, (width, height)) = (String::new(), size);
    let svg = Svg {
        body: &mut body,
        size,
        open: None,
    };
    paint(&svg.into_drawing_area())?;
    Ok(format!(
        "<svg viewBox=\"0 0 {width} {height}\" width={width} height={height}>{body}</svg>"
    ))
}

/// A colour of the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Axes and letters; what plotters calls black.
    Ink,
    Grid,
    Good,
    Fair,
    Bad,
    Mark,
    Curve0,
    Curve1,
    Curve2,
    Curve3,
    Curve4,
    Curve5,
    Curve6,
}

impl Colour {
    const ALL: [Self; 13] = [
        Self::Ink,
        Self::Grid,
        Self::Good,
        Self::Fair,
        Self::Bad,
        Self::Mark,
        Self::Curve0,
        Self::Curve1,
        Self::Curve2,
        Self::Curve3,
        Self::Curve4,
        Self::Curve5,
        Self::Curve6,
    ];
    const CURVES: usize = 7;

    /// Of the curve with this number.
    pub(super) fn curve(number: usize) -> Self {
        Self::ALL[Self::Curve0 as usize + number % Self::CURVES]
    }

    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        [
            "ink", "grid", "good", "fair", "bad", "mark", "c0", "c1", "c2", "c3", "c4", "c5", "c6",
        ][self as usize]
    }

    /// As plotters carries it to the back end.
    pub(super) fn rgb(self) -> RGBColor {
        RGBColor(self as u8, 0, 0)
    }

    fn of(colour: BackendColor) -> Self {
        let index = usize::from(colour.rgb.0);
        Self::ALL.get(index).copied().unwrap_or(Self::Ink)
    }
}

/// Writes elements; those of a path stay open as long as strokes of the same kind follow.
pub(super) struct Svg<'s> {
    body: &'s mut String,
    size: (u32, u32),
    open: Option<(Colour, bool)>,
}

type Done = Result<(), DrawingErrorKind<Infallible>>;

impl Svg<'_> {
    /// Opens a path of this kind, unless it is open.
    fn path(&mut self, colour: BackendColor, is_filled: bool) {
        let kind = (Colour::of(colour), is_filled);
        if self.open == Some(kind) {
            return;
        }
        self.close();
        let filled = if is_filled { "f " } else { "" };
        let class = kind.0.class();
        let _ = write!(self.body, "<path class=\"{filled}{class}\" d=\"");
        self.open = Some(kind);
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            *self.body += "\"/>";
        }
    }

    fn moves(&mut self, points: &[BackendCoord]) {
        let Some((mut x, mut y)) = points.first().copied() else {
            return;
        };
        let _ = write!(self.body, "M{x} {y}");
        for point in &points[1..] {
            let (dx, dy) = (point.0 - x, point.1 - y);
            let _ = match (dx, dy) {
                (0, 0) => Ok(()),
                (dx, 0) => write!(self.body, "h{dx}"),
                (0, dy) => write!(self.body, "v{dy}"),
                (dx, dy) if dy < 0 => write!(self.body, "l{dx}{dy}"),
                (dx, dy) => write!(self.body, "l{dx} {dy}"),
            };
            (x, y) = *point;
        }
    }
}

impl Drop for Svg<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Of all points in one column of pixels, those that can be seen: where the curve comes in, its
/// lowest, its highest, and where it goes out.
fn thinned(points: Vec<BackendCoord>) -> Vec<BackendCoord> {
    let columns = points.chunk_by(|a, b| a.0 == b.0);
    let seen = columns.flat_map(|column| {
        let (x, first) = column[0];
        let last = column[column.len() - 1].1;
        let heights = || column.iter().map(|point| point.1);
        let extremes = [heights().min(), heights().max()].map(|y| y.unwrap_or(first));
        let mut points = vec![first, extremes[0], extremes[1], last];
        points.dedup();
        points.into_iter().map(move |y| (x, y))
    });
    seen.collect()
}

impl DrawingBackend for Svg<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Done {
        Ok(())
    }

    fn present(&mut self) -> Done {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Done {
        self.path(colour, true);
        let _ = write!(self.body, "M{x} {y}h1v1h-1z");
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Done {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Done {
        if style.color().alpha > 0.0 {
            self.path(style.color(), false);
            self.moves(&thinned(path.into_iter().collect()));
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        is_filled: bool,
    ) -> Done {
        self.path(style.color(), is_filled);
        self.moves(&[(left, top), (right, top), (right, bottom), (left, bottom)]);
        *self.body += "z";
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        (x, y): BackendCoord,
        radius: u32,
        style: &S,
        is_filled: bool,
    ) -> Done {
        self.path(style.color(), is_filled);
        let (r, d) = (radius, 2 * radius);
        let left = x - radius as i32;
        let _ = write!(
            self.body,
            "M{left} {y}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0-{d} 0"
        );
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Done {
        self.path(style.color(), true);
        self.moves(&corners.into_iter().collect::<Vec<_>>());
        *self.body += "z";
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Done {
        self.close();
        let (x, y) = at;
        let horizontal = match style.anchor().h_pos {
            HPos::Left => "",
            HPos::Center => " class=m",
            HPos::Right => " class=e",
        };
        let vertical = match style.anchor().v_pos {
            VPos::Top => " dy=.75em",
            VPos::Center => " dy=.35em",
            VPos::Bottom => "",
        };
        let turned = match style.transform() {
            FontTransform::None => String::new(),
            FontTransform::Rotate90 => format!(" transform=\"rotate(90 {x} {y})\""),
            FontTransform::Rotate180 => format!(" transform=\"rotate(180 {x} {y})\""),
            FontTransform::Rotate270 => format!(" transform=\"rotate(270 {x} {y})\""),
        };
        let text = escape(text);
        let _ = write!(
            self.body,
            "<text x={x} y={y}{vertical}{horizontal}{turned}>{text}</text>"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_left_out_of_a_curve() {
        let points = [(1, 5), (1, 9), (1, 2), (1, 4), (1, 6), (2, 6), (3, 6)];
        let seen = thinned(points.to_vec());
        assert_eq!(seen, [(1, 5), (1, 2), (1, 9), (1, 6), (2, 6), (3, 6)]);
    }

    #[test]
    fn every_colour_has_a_class_in_the_style_sheet() {
        for (index, colour) in Colour::ALL.into_iter().enumerate() {
            assert_eq!(colour as usize, index);
            let rule = format!(".{}", colour.class());
            assert!(super::super::STYLE.contains(&rule), "{rule}");
        }
    }
}
