//! Starting from a checkpoint instead of from random weights: one of ours, or another program's that fits the arms.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::config::{Init, TrainConfig};
use crate::data::{Dataset, Tokenizer};
use crate::error::{Error, Result};
use crate::model::config::Positions;
use crate::model::hf::{Named, from_hf, names};
use crate::model::hf_import::arm_of;
use crate::model::{Decoder, ModelConfig};
use crate::qk_import::Arrays;

/// Parts of names that may stand in a checkpoint beside what is trained: buffers, no parameters.
const BUFFERS: [&str; 4] = [".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq", "position_ids"];

/// Held-out tokens that two tokenizers are compared on.
const COMPARED: usize = 4096;

/// The model that a run begins with: of a checkpoint where the configuration names one, else random.
///
/// # Errors
/// As [`Init::load`] and [`Decoder::new`].
pub fn first_model(config: &TrainConfig) -> Result<Decoder> {
    match &config.init {
        Some(init) => init.load(&config.model),
        None => Decoder::new(config.model.clone(), config.seed, &Device::Cpu),
    }
}

impl Init {
    /// The arm of a checkpoint folder.
    ///
    /// # Errors
    /// A path that is no checkpoint folder, or a model that fits none of the arms, with the reason.
    pub fn open(dir: &Path) -> Result<(Self, ModelConfig)> {
        let json = crate::qk_import::read_config(dir)?;
        let arm = arm_of(&json)
            .map_err(|why| Error::usage(format!("--init {}: cannot be trained on: {why}", dir.display())))?;
        Ok((Self { checkpoint: dir.to_path_buf(), vocab: arm.vocab }, arm))
    }

    /// The checkpoint's tokenizer file, where it has one.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        Some(self.checkpoint.join("tokenizer.json")).filter(|p| p.is_file())
    }

    /// Whether a dataset's tokens mean what the checkpoint's weights were trained on: its tokenizer cuts a stretch of the
    /// held-out text into the same ids. A checkpoint without a tokenizer file, or with one that is not read here, cannot be asked:
    /// a sentence says so.
    ///
    /// # Errors
    /// The first token that differs.
    pub fn same_tokenizer(&self, data: &Dataset) -> Result<Option<String>> {
        let unknown = |why: &str| {
            let dir = growthpath_trace::shown_path(&self.checkpoint);
            Ok(Some(format!("--init {dir}: {why}, so nothing tells whether its weights know these tokens")))
        };
        let Some(path) = self.tokenizer() else { return unknown("it has no tokenizer.json") };
        let Ok(own) = Tokenizer::from_file(&path) else {
            return unknown("its tokenizer.json cannot be read here");
        };
        let given = data.tokenizer();
        if own.fingerprint()? == given.fingerprint()? {
            return Ok(None);
        }
        let mut ids = Vec::new();
        data.valid().extend_into(&mut ids, 0, data.valid().len().min(COMPARED));
        // Cut again from the text: the stretch may begin or end within a word.
        let text = given.decode(&ids)?;
        let (ours, theirs) = (given.encode(&text)?, own.encode(&text)?);
        let Some(at) = (0..ours.len().max(theirs.len())).find(|i| ours.get(*i) != theirs.get(*i)) else {
            return Ok(None);
        };
        let shown = |ids: &[u32]| ids.get(at).map_or("the end".into(), |id| format!("id {id}"));
        Err(Error::usage(format!(
            "--tokenizer {}: the weights of {} were trained on another one: token {at} of the held-out text is {} here and {} there; \
             leave --tokenizer out to take the checkpoint's own",
            given.name(),
            self.checkpoint.display(),
            shown(&ours),
            shown(&theirs)
        )))
    }

    /// The decoder with the checkpoint's weights; `config` is its arm, with a context that may be shorter.
    ///
    /// # Errors
    /// A missing array, one of another shape, one that the arm has no place for, a value that is not finite: each by name.
    pub fn load(&self, config: &ModelConfig) -> Result<Decoder> {
        let stored = Arrays::open(&self.checkpoint)?;
        let wanted = names(config);
        // Models without their head leave the first part of every name out.
        let root = wanted[0].split('.').next().unwrap_or_default();
        let bare = |name: &str| name.strip_prefix(root).and_then(|n| n.strip_prefix('.')).map(str::to_string);
        let find = |name: &str| {
            let options = [Some(name.to_string()), bare(name)];
            options.into_iter().flatten().find(|n| stored.has(n))
        };
        let mut arrays: HashMap<String, Named> = HashMap::new();
        let mut used = std::collections::HashSet::new();
        for name in &wanted {
            let at = find(name).ok_or_else(|| {
                Error::format(&self.checkpoint, format!("lacks `{name}`, which its configuration implies"))
            })?;
            let mut a = stored.read(&at)?;
            used.insert(at);
            if config.pos == Positions::Learned
                && name.ends_with("wpe.weight")
                && a.shape.first() > Some(&config.context)
            {
                // A shorter context reads the first positions only.
                a.data.truncate(config.context * a.shape[1]);
                a.shape[0] = config.context;
            }
            a.name.clone_from(name);
            arrays.insert(name.clone(), a);
        }
        for name in stored.names().filter(|n| !used.contains(*n)) {
            if BUFFERS.iter().any(|b| name.ends_with(b)) {
                continue;
            }
            if name == "lm_head.weight" && config.tied {
                let embedding = arrays.get(&wanted[0]).map(|a| &a.data);
                if embedding == Some(&stored.read(name)?.data) {
                    continue;
                }
                return Err(Error::format(
                    &self.checkpoint,
                    "has an output projection of its own, though its configuration ties it to the embedding (`tie_word_embeddings`)",
                ));
            }
            return Err(Error::format(
                &self.checkpoint,
                format!("holds `{name}`, which the arm `{}` has no place for", config.preset),
            ));
        }
        Decoder::from_params(config.clone(), from_hf(config, &arrays, &Device::Cpu)?)
    }
}
