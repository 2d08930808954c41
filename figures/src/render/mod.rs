//! Draws any [`Drawing`](crate::model::Drawing) on a back end: resolve ranges, lay out, draw. Imports go one way:
//! `ranges`, `ruler`, `hexagons` <- `placed` <- `colour_bar`, `legend` <- `axes`, `cells`, `items`, `layout` <- `hover`.

mod axes;
mod cells;
mod colour_bar;
mod hexagons;
mod hover;
mod items;
mod layout;
mod legend;
mod placed;
mod ranges;
mod ruler;

use plotters::prelude::DrawingBackend;

use crate::canvas::{Anchor, Canvas, Font, Rect};
use crate::error::FigureError;
use crate::style;
pub(crate) use layout::Layout;
pub(crate) use ranges::has_data;

impl Layout<'_> {
    /// Draws everything.
    pub fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), FigureError> {
        let (w, h) = self.size();
        canvas.rect(Rect { left: 0.0, top: 0.0, right: w, bottom: h }, style::PAPER)?;
        for line in &self.heading {
            canvas.text(&line.text, line.at, line.font, Anchor::Left)?;
        }
        legend::draw(canvas, &self.legend)?;
        for placed in &self.panels {
            if placed.has_data {
                axes::draw_grid(canvas, placed)?;
                items::draw(canvas, placed, self.colours.as_ref())?;
            } else {
                let at = (
                    (placed.frame.left + placed.frame.right) / 2.0,
                    (placed.frame.top + placed.frame.bottom) / 2.0,
                );
                canvas.text("no data", at, Font::new(style::LABEL, style::FAINT_INK), Anchor::Centre)?;
            }
            axes::draw_frame(canvas, placed)?;
        }
        if self.panels.is_empty() {
            let at = (w / 2.0, h - 50.0);
            canvas.text("no data", at, Font::new(style::LABEL, style::FAINT_INK), Anchor::Centre)?;
        }
        if let Some(bar) = &self.colours {
            colour_bar::draw(canvas, bar)?;
        }
        Ok(())
    }
}
