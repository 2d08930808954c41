//! The tables beside `probe`.

use growthpath_trace::*;
use rand::Rng;

use super::Recorder;

impl Recorder<'_> {
    pub(super) fn training(&mut self, step: u32) -> Result<()> {
        let (size, rng) = (self.size, &mut self.rng);
        let mut row = StepRow {
            step,
            tokens: 64 * (u64::from(step) + 1),
            loss: 5.0 - step as f32 / size.steps as f32 + rng.random_range(-0.1..0.1),
            lr: 1e-3,
            qk_mult: 1.0,
            grad_norm: rng.random_range(0.5..2.0),
            clip_scale: rng.random_range(0.5..1.0),
            step_ms: rng.random_range(9.0..11.0),
        };
        self.tamper.step(&mut row);
        self.out.steps(row)
    }

    pub(super) fn evaluation(&mut self, step: u32) -> Result<()> {
        let sequences = 8;
        let mut losses: Vec<EvalLossRow> = (0..sequences)
            .map(|sequence| {
                let loss =
                    5.0 - f64::from(step) / f64::from(self.size.steps) + self.rng.random_range(-0.1..0.1);
                EvalLossRow { step, sequence, loss }
            })
            .collect();
        let n = f64::from(sequences);
        let loss = losses.iter().map(|r| r.loss).sum::<f64>() / n;
        let square = losses.iter().map(|r| (r.loss - loss).powi(2)).sum::<f64>();
        let stderr = (square / (n * (n - 1.0))).sqrt();
        let mut row = EvalRow { step, tokens: 64 * u64::from(step), loss, stderr, sequences };
        self.tamper.eval(&mut row);
        losses.iter_mut().for_each(|r| self.tamper.eval_loss(r));
        self.out.evals(row)?;
        self.out.eval_losses(&losses)
    }

    pub(super) fn telemetry(&mut self, step: u32) -> Result<()> {
        let every = self.size.telemetry_every;
        let recorded = every > 0 && step.is_multiple_of(every);
        // Weights move at every step, recorded or not.
        let mut rows: Vec<HeadRow> = (0..self.heads.len()).map(|cell| self.head(step, cell)).collect();
        if !recorded {
            return Ok(());
        }
        rows.iter_mut().for_each(|row| self.tamper.head(row));
        self.out.heads(&rows)?;
        self.writes(step)
    }

    /// One head's row, and its weights moved on.
    fn head(&mut self, step: u32, cell: usize) -> HeadRow {
        let (size, rng, head) = (self.size, &mut self.rng, &mut self.heads[cell]);
        let d2: [f64; 2] = std::array::from_fn(|_| rng.random_range(1e-4..2e-4));
        let wd: [f64; 2] =
            std::array::from_fn(|i| rng.random_range(-0.05..0.05) * (head.w2[i] * d2[i]).sqrt());
        let g2: [f64; 2] = [rng.random_range(0.1..1.0), rng.random_range(0.1..1.0)];
        let size_of = (head.w2[0] * g2[0]).min(head.w2[1] * g2[1]).sqrt();
        let sgs = rng.random_range(-0.4..0.4) * size_of;
        let mut wg = |i: usize| {
            let euler = if size.qk_norm { 0.0 } else { sgs };
            euler + rng.random_range(-1e-6..1e-6) * (head.w2[i] * g2[i]).sqrt()
        };
        let (wg_q, wg_k) = (wg(0), wg(1));
        let spread = rng.random_range(0.1..2.0f64);
        #[allow(clippy::needless_update)]
        let row = HeadRow {
            step,
            layer: (cell / usize::from(size.heads)) as u16,
            head: (cell % usize::from(size.heads)) as u16,
            g_q2: g2[0] as f32,
            g_k2: g2[1] as f32,
            g_qmax: (0.1 * g2[0].sqrt()) as f32,
            g_kmax: (0.1 * g2[1].sqrt()) as f32,
            w_q2: head.w2[0] as f32,
            w_k2: head.w2[1] as f32,
            d_q2: d2[0] as f32,
            d_k2: d2[1] as f32,
            wg_q: wg_q as f32,
            wg_k: wg_k as f32,
            wd_q: wd[0] as f32,
            wd_k: wd[1] as f32,
            gd_q: (-0.3 * (g2[0] * d2[0]).sqrt()) as f32,
            gd_k: (-0.3 * (g2[1] * d2[1]).sqrt()) as f32,
            lr: 1e-3,
            s_max: (4.0 * spread) as f32,
            s_min: (-4.0 * spread) as f32,
            s_ms: (spread * spread * rng.random_range(1.0001..2.0)) as f32,
            spread: spread as f32,
            entropy: rng.random_range(0.2..0.95),
            sharpness: rng.random_range(0.05..0.8),
            top1: rng.random_range(0.05..0.8),
            max_distance: rng.random_range(0.0..30.0),
            q_rms: rng.random_range(0.5..2.0),
            k_rms: rng.random_range(0.5..2.0),
            qk_cos: rng.random_range(-0.5..0.5),
            gs2: rng.random_range(0.0..1.0),
            sgs: sgs as f32,
            lse_gap: rng.random_range(-1.0..0.0),
            pressure_q: (-wg_q / (head.w2[0] * g2[0]).sqrt()) as f32,
            pressure_k: (-wg_k / (head.w2[1] * g2[1]).sqrt()) as f32,
            dm_f: 0.02,
            dm_top: rng.random_range(0.005..0.02),
            dm_entropy: rng.random_range(0.2..0.9),
            // Statistics that came later: no identity speaks of them.
            ..HeadRow::undefined()
        };
        for i in 0..2 {
            head.w2[i] += 2.0 * wd[i] + d2[i];
        }
        row
    }

    fn writes(&mut self, step: u32) -> Result<()> {
        let rng = &mut self.rng;
        let mut h2 = rng.random_range(0.5..1.5f64);
        let mut rows = Vec::with_capacity(2 * usize::from(self.size.layers));
        for place in 0..2 * self.size.layers {
            let energy = rng.random_range(0.1..1.0f64);
            let dot = rng.random_range(-0.3..0.5) * (energy * h2).sqrt();
            let after = h2 + 2.0 * dot + energy;
            let (hidden_ms, hidden_common) = match place % 2 {
                0 => (f32::NAN, f32::NAN),
                _ => (0.4, rng.random_range(0.0..0.3)),
            };
            let mut row = WriteRow {
                step,
                layer: place / 2,
                site: (place % 2) as u8,
                energy: energy as f32,
                common: (energy * rng.random_range(0.0..0.9)) as f32,
                dot: dot as f32,
                h2_before: h2 as f32,
                h2_after: after as f32,
                hidden_ms,
                hidden_common,
            };
            self.tamper.write(&mut row);
            rows.push(row);
            h2 = after;
        }
        self.out.writes(&rows)
    }

    pub(super) fn layer(&mut self, step: u32, layer: u16) -> Result<()> {
        let mut row = ProbeLayerRow {
            step,
            layer,
            eff_rank: self.rng.random_range(2.0..9.0),
            distinct: self.rng.random_range(0.1..0.9),
            tr_sq: 8.0,
            tr_sk: 4.0,
            lambda_sq: 3.0,
            lambda_sk: 1.0,
            lambda_x: 3.0,
        };
        self.tamper.layer(&mut row);
        self.out.probe_layers(&[row])
    }

    /// Over the configured lag and over twice as much.
    pub(super) fn maturity(&mut self, step: u32, layer: u16) -> Result<()> {
        for lag in [self.size.lag(), 2 * self.size.lag()] {
            if step >= lag {
                let mut row = MaturityRow { step, layer, lag, maturity: self.rng.random_range(0.5..1.0) };
                self.tamper.maturity(&mut row);
                self.out.maturity(&[row])?;
            }
        }
        Ok(())
    }

    /// Written when the run ends, about every probe.
    pub(super) fn settling(&mut self) -> Result<()> {
        for &step in &self.probed {
            for layer in 0..self.size.layers {
                let mut row = SettlingRow { step, layer, final_cosine: self.rng.random_range(0.5..1.0) };
                self.tamper.settling(&mut row);
                self.out.settling(&[row])?;
            }
        }
        Ok(())
    }

    /// Of both halves and of one layer and head.
    pub(super) fn reliance(&mut self, step: u32) -> Result<()> {
        for (scope, layer, head) in [(0, 0, 0), (1, 0, WHOLE_LAYER), (2, 0, WHOLE_LAYER), (2, 1, WHOLE_LAYER)]
        {
            let delta = self.rng.random_range(-0.01..0.5);
            let mut row =
                RelianceRow { step, scope, layer, head, delta, stderr: 0.02, base_loss: 4.0, sequences: 8 };
            self.tamper.reliance(&mut row);
            self.out.reliance(&[row])?;
        }
        Ok(())
    }

    /// `feature`: what the drifts add up to.
    pub(super) fn shares(&mut self, (step, layer): (u32, u16), interval: bool, feature: f64) -> Result<()> {
        let nan = f64::NAN;
        let writes = 2 * usize::from(layer) + 1;
        let rng = &mut self.rng;
        // Numbers of one sign's majority that add up to `total`, the last one being the rest.
        let mut parts = |count: usize, total: f64| -> Vec<f64> {
            let mut parts: Vec<f64> = (1..count).map(|_| rng.random_range(-0.2..0.8)).collect();
            parts.push(total - parts.iter().sum::<f64>());
            parts
        };
        let (stream, energy, drift) =
            (parts(writes, 1.0), parts(writes + 1, 1.0), parts(writes + 1, feature));
        for write in 0..=writes {
            let constant = write == writes;
            // The first probe of a run has no interval, and the constant part is no write of the stream.
            let mut row = ShareRow {
                step,
                layer,
                write: if constant { WRITE_CONSTANT } else { write as u16 },
                stream_share: if constant { nan } else { stream[write] },
                energy_share: if interval { energy[write] } else { nan },
                drift_share: if interval { drift[write] } else { nan },
            };
            if constant && !interval {
                continue;
            }
            self.tamper.share(&mut row);
            self.out.shares(&[row])?;
        }
        Ok(())
    }
}
