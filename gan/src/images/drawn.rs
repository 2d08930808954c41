//! Simple drawn faces: what the demo learns where no folder is given.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `n` faces as `[3, size, size]` bytes: coloured discs with eyes and a mouth, no two alike.
pub fn drawn_faces(n: usize, size: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<u8>> {
    (0..n).map(|_| Face::draw(rng).render(size)).collect()
}

struct Face {
    colour: [f64; 3],
    centre: (f64, f64),
    radius: f64,
    eyes: (f64, f64, f64),
    mouth: f64,
}

impl Face {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let warm = rng.random_range(0.0..1.0);
        Self {
            colour: [230.0 + 25.0 * warm, rng.random_range(120.0..220.0), rng.random_range(20.0..120.0)],
            centre: (rng.random_range(0.47..0.53), rng.random_range(0.47..0.53)),
            radius: rng.random_range(0.36..0.44),
            eyes: (rng.random_range(0.28..0.42), rng.random_range(0.1..0.3), rng.random_range(0.09..0.16)),
            mouth: rng.random_range(-0.8..0.8),
        }
    }

    fn render(&self, size: usize) -> Vec<u8> {
        let mut planes = vec![255u8; 3 * size * size];
        for y in 0..size {
            for x in 0..size {
                let u = ((x as f64 + 0.5) / size as f64 - self.centre.0) / self.radius;
                let v = ((y as f64 + 0.5) / size as f64 - self.centre.1) / self.radius;
                let soft = |distance: f64| (0.5 - distance * self.radius * size as f64).clamp(0.0, 1.0);
                let r = (u * u + v * v).sqrt();
                let face = soft(r - 1.0);
                let (ex, ey, er) = self.eyes;
                let eye =
                    soft((((u.abs() - ex) / er).powi(2) + ((v + ey) / (1.4 * er)).powi(2)).sqrt() * er - er);
                let curve = 0.42 + self.mouth * (0.12 - u * u);
                let mouth = if u.abs() < 0.5 { soft((v - curve).abs() - 0.06) } else { 0.0 };
                let dark = eye.max(mouth);
                for (c, base) in self.colour.iter().enumerate() {
                    let lit = base * (1.0 - 0.25 * (r * r).min(1.0) + 0.05 * (-u - v));
                    let ink = lit * (1.0 - dark) + 40.0 * dark;
                    let value = 255.0 * (1.0 - face) + ink.clamp(0.0, 255.0) * face;
                    planes[(c * size + y) * size + x] = value.round() as u8;
                }
            }
        }
        planes
    }
}
