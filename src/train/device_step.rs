//! One training step on a device: started now, read and recorded while the next one runs.

use std::time::Instant;

use super::accelerator::Accelerator;

use super::optimizer::StepInfo;
use super::record::Finished;
use super::session::{Event, Session, Started};
use crate::error::{Error, Result};
use crate::model::StepStats;

impl Session<'_> {
    /// Start step `at` on the device and record the one before it.
    pub(super) fn device_step(
        &mut self,
        device: &mut dyn Accelerator,
        at: u32,
        on: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let c = self.config;
        self.clock.get_or_insert_with(Instant::now);
        let batch = self.batcher.batch(c.seed, u64::from(at));
        let (lr, multiplier) = self.optimizer.schedule(c, at);
        let update = self.optimizer.update(c, at, lr, 1.0, c.telemetry_due(at));
        device.start(&batch, &update, c.clip as f32)?;
        let qk_lr = self.optimizer.qk_lr(lr);
        self.count_step(&qk_lr);
        self.started.push_back(Started { at, lr, multiplier, qk_lr });
        if device.unread() > 1 { self.finish_oldest(device, on) } else { Ok(()) }
    }

    /// Wait for the oldest unread step and record it.
    fn finish_oldest(&mut self, device: &mut dyn Accelerator, on: &mut dyn FnMut(Event)) -> Result<()> {
        let (Some(s), Some(m)) = (self.started.pop_front(), device.read()?) else {
            return Err(Error::usage("a step of the device was lost"));
        };
        let StepStats { loss, grad_norm, clip_scale, layers, logit_grads, slots, .. } = m;
        let info = StepInfo { lr: s.lr, multiplier: s.multiplier, grad_norm, clip_scale };
        self.healthy(s.at, loss, info, &layers)?;
        let now = Instant::now();
        let seconds = self.clock.replace(now).map_or(0.0, |c| now.duration_since(c).as_secs_f64());
        let finished = Finished {
            at: s.at,
            loss,
            info,
            seconds,
            qk_lr: &s.qk_lr,
            logit_grads: &logit_grads,
            slots: &slots,
            // The weights before and after a step would have to be waited for: see --spectra-every.
            increments: &[],
        };
        self.record(&finished, &layers, on)
    }

    /// Record every started step and bring the host's copy up to date, with the moments for a checkpoint.
    pub(super) fn catch_up(
        &mut self,
        device: &mut dyn Accelerator,
        moments: bool,
        on: &mut dyn FnMut(Event),
    ) -> Result<()> {
        while device.unread() > 0 {
            self.finish_oldest(device, on)?;
        }
        device.pull(&self.model.params)?;
        if moments {
            device.pull_moments(&mut self.optimizer.moments)?;
        }
        Ok(())
    }
}
