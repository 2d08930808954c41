//! Counting points in hexagons.

use std::collections::BTreeMap;

use crate::canvas::Rect;

/// One occupied hexagon: centre in CSS pixels and number of points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hexagon {
    pub at: (f64, f64),
    pub count: usize,
}

/// Counts `points` (CSS pixels) inside `frame` in hexagons of the given radius, upright point at the top. In row order.
pub(super) fn count(points: &[(f64, f64)], frame: Rect, radius: f64) -> Vec<Hexagon> {
    let (dx, dy) = (3f64.sqrt() * radius, 1.5 * radius);
    let centre = |row: i64, column: i64| {
        let shift = if row.rem_euclid(2) == 1 { 0.5 } else { 0.0 };
        (frame.left + (column as f64 + shift) * dx, frame.top + row as f64 * dy)
    };
    let mut cells: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for &p in points.iter().filter(|p| frame.contains(**p)) {
        let row = ((p.1 - frame.top) / dy).floor() as i64;
        // The nearest centre lies in the row above or below the point.
        let nearest = [row, row + 1]
            .into_iter()
            .map(|r| {
                let shift = if r.rem_euclid(2) == 1 { 0.5 } else { 0.0 };
                let c = ((p.0 - frame.left) / dx - shift).round() as i64;
                let q = centre(r, c);
                ((p.0 - q.0).hypot(p.1 - q.1), (r, c))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, cell)) = nearest {
            *cells.entry(cell).or_default() += 1;
        }
    }
    cells.into_iter().map(|((r, c), count)| Hexagon { at: centre(r, c), count }).collect()
}

/// Corners of a hexagon.
pub(super) fn corners((x, y): (f64, f64), radius: f64) -> [(f64, f64); 6] {
    std::array::from_fn(|k| {
        let angle = std::f64::consts::PI * (k as f64 / 3.0 + 1.0 / 6.0);
        (x + radius * angle.cos(), y + radius * angle.sin())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_point_is_counted_once_in_its_nearest_hexagon(
            points in proptest::collection::vec((0.0..100.0f64, 0.0..80.0f64), 0..60), radius in 2.0..9.0f64,
        ) {
            let frame = Rect { left: 0.0, top: 0.0, right: 100.0, bottom: 80.0 };
            let cells = count(&points, frame, radius);
            prop_assert_eq!(cells.iter().map(|c| c.count).sum::<usize>(), points.len());
            for p in &points {
                let nearest = cells.iter().map(|c| (c.at.0 - p.0).hypot(c.at.1 - p.1)).fold(f64::INFINITY, f64::min);
                // No point of a hexagon is farther from its centre than the radius.
                prop_assert!(nearest <= radius + 1e-9, "{nearest} > {radius}");
            }
        }
    }
}
