//! A float64 decoder composed of candle's plain operations, differentiated by candle's own autograd:
//! shares no code with the fused path.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use growthpath::model::config::{Ffn, ModelConfig, Norm, Positions};
use growthpath::model::params::{Params, Role};

/// What the composed model computed; each test reads a part of it.
#[allow(dead_code)]
pub struct Reference {
    pub vars: Vec<Var>,
    pub loss: Tensor,
    /// Post-scale logits of each layer, `[B, H, T, T]`, the future masked by -1e30.
    pub logits: Vec<Tensor>,
    /// Queries and keys of each layer as attention sees them, `[B, H, T, d_h]`.
    pub queries: Vec<Tensor>,
    pub keys: Vec<Tensor>,
    /// Smallest distance of a ReLU's input from its kink; infinite for smooth arms.
    pub kink: f64,
    /// Zeros added to the logits: their gradients are G_S.
    pub taps: Vec<Var>,
}

struct Net<'a> {
    config: &'a ModelConfig,
    params: &'a Params,
    vars: &'a [Var],
    kink: std::cell::Cell<f64>,
}

impl Net<'_> {
    fn get(&self, role: Role, layer: Option<usize>) -> Option<&Tensor> {
        self.params.index(role, layer).map(|i| self.vars[i].as_tensor())
    }

    fn linear(&self, x: &Tensor, w: Role, b: Role, l: Option<usize>) -> Result<Tensor> {
        let y = x.matmul(&self.get(w, l).unwrap().t()?)?;
        match self.get(b, l) {
            Some(b) => y.broadcast_add(b),
            None => Ok(y),
        }
    }

    fn norm(&self, x: &Tensor, g: Role, b: Role, l: Option<usize>) -> Result<Tensor> {
        let x = match self.config.norm {
            Norm::LayerNorm => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            Norm::RmsNorm => x.clone(),
        };
        let var = (x.sqr()?.mean_keepdim(D::Minus1)? + self.config.norm_eps)?;
        let y = x.broadcast_div(&var.sqrt()?)?.broadcast_mul(self.get(g, l).unwrap())?;
        match self.get(b, l) {
            Some(b) => y.broadcast_add(b),
            None => Ok(y),
        }
    }

    fn heads(&self, x: &Tensor, t: usize) -> Result<Tensor> {
        let b = x.dim(0)? / t;
        let (h, dh) = (self.config.heads, self.config.head_dim());
        x.reshape((b, t, h, dh))?.transpose(1, 2)?.contiguous()
    }

    fn head_norm(&self, x: &Tensor, g: Role, l: Option<usize>) -> Result<Tensor> {
        match self.get(g, l) {
            Some(g) => {
                let r = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?.sqrt()?;
                x.broadcast_div(&r)?.broadcast_mul(g)
            }
            None => Ok(x.clone()),
        }
    }

    fn rope(&self, x: &Tensor) -> Result<Tensor> {
        if self.config.pos != Positions::Rope {
            return Ok(x.clone());
        }
        let (_, _, t, dh) = x.dims4()?;
        let angle = |p: usize, i: usize| p as f64 * self.config.rope_base.powf(-2.0 * i as f64 / dh as f64);
        let table = |f: fn(f64) -> f64| {
            let v: Vec<f64> =
                (0..t).flat_map(|p| (0..dh / 2).map(move |i| (p, i))).map(|(p, i)| f(angle(p, i))).collect();
            Tensor::from_vec(v, (t, dh / 2), &Device::Cpu)
        };
        let (c, s) = (table(f64::cos)?, table(f64::sin)?);
        let (a, b) = (x.narrow(3, 0, dh / 2)?, x.narrow(3, dh / 2, dh / 2)?);
        let first = (a.broadcast_mul(&c)? - b.broadcast_mul(&s)?)?;
        let second = (b.broadcast_mul(&c)? + a.broadcast_mul(&s)?)?;
        Tensor::cat(&[first, second], 3)
    }

    fn ffn(&self, x: &Tensor, l: Option<usize>) -> Result<Tensor> {
        let u = self.linear(x, Role::Up, Role::UpBias, l)?;
        let f = self.config.hidden_width();
        let parts = || -> Result<(Tensor, Tensor)> { Ok((u.narrow(1, 0, f)?, u.narrow(1, f, f)?)) };
        let gate = match self.config.ffn {
            Ffn::Relu => Some(u.clone()),
            Ffn::Reglu => Some(parts()?.0),
            _ => None,
        };
        if let Some(g) = gate {
            let nearest = g.abs()?.flatten_all()?.min(0)?.to_scalar::<f64>()?;
            self.kink.set(self.kink.get().min(nearest));
        }
        // An activation without a form over tensors is not among those that are compared here.
        #[allow(unreachable_patterns)]
        let a = match self.config.ffn {
            Ffn::Gelu => u.gelu()?,
            Ffn::Relu => u.relu()?,
            Ffn::Relu2 => u.relu()?.sqr()?,
            Ffn::Silu => u.silu()?,
            Ffn::Geglu => (parts()?.0.gelu()? * parts()?.1)?,
            Ffn::Swiglu => (parts()?.0.silu()? * parts()?.1)?,
            Ffn::Reglu => (parts()?.0.relu()? * parts()?.1)?,
            Ffn::Bilinear => (parts()?.0 * parts()?.1)?,
            other => panic!("no composed form of {other:?}"),
        };
        self.linear(&a, Role::Down, Role::DownBias, l)
    }
}

/// Loss of the composed model at the parameters of `params`, converted to float64.
pub fn reference(
    config: &ModelConfig,
    params: &Params,
    tokens: &[u32],
    targets: &[u32],
    t: usize,
) -> Result<Reference> {
    let dev = &Device::Cpu;
    let vars: Vec<Var> =
        params.vars.iter().map(|v| Var::from_tensor(&v.to_dtype(DType::F64)?)).collect::<Result<_>>()?;
    let net = Net { config, params, vars: &vars, kink: std::cell::Cell::new(f64::INFINITY) };
    let n = tokens.len();
    let mut h = net.get(Role::TokenEmbedding, None).unwrap().index_select(&Tensor::new(tokens, dev)?, 0)?;
    if let Some(p) = net.get(Role::PositionEmbedding, None) {
        let pos: Vec<u32> = (0..n).map(|i| (i % t) as u32).collect();
        h = (h + p.index_select(&Tensor::new(pos, dev)?, 0)?)?;
    }
    let mask: Vec<f64> = (0..t).flat_map(|i| (0..t).map(move |j| if j > i { -1e30 } else { 0.0 })).collect();
    let mask = Tensor::from_vec(mask, (1, 1, t, t), dev)?;
    let d = config.width;
    let (mut all_logits, mut taps) = (Vec::new(), Vec::new());
    let (mut queries, mut keys) = (Vec::new(), Vec::new());
    for l in (0..config.layers).map(Some) {
        let x = net.norm(&h, Role::AttnNormGain, Role::AttnNormBias, l)?;
        let qkv = net.linear(&x, Role::Qkv, Role::QkvBias, l)?;
        let part = |i: usize| net.heads(&qkv.narrow(1, i * d, d)?, t);
        let q = net.rope(&net.head_norm(&part(0)?, Role::QNormGain, l)?)?;
        let k = net.rope(&net.head_norm(&part(1)?, Role::KNormGain, l)?)?;
        let s =
            (q.matmul(&k.t()?.contiguous()?)? / (config.head_dim() as f64).sqrt())?.broadcast_add(&mask)?;
        let tap = Var::zeros(s.shape(), DType::F64, dev)?;
        let s = (s + tap.as_tensor())?;
        all_logits.push(s.detach());
        queries.push(q.detach());
        keys.push(k.detach());
        taps.push(tap);
        let e = s.broadcast_sub(&s.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        let o = p.matmul(&part(2)?)?.transpose(1, 2)?.contiguous()?.reshape((n, d))?;
        h = (h + net.linear(&o, Role::AttnOut, Role::AttnOutBias, l)?)?;
        let x = net.norm(&h, Role::FfnNormGain, Role::FfnNormBias, l)?;
        h = (h + net.ffn(&x, l)?)?;
    }
    let x = net.norm(&h, Role::FinalNormGain, Role::FinalNormBias, None)?;
    let head = net.get(Role::LmHead, None).or(net.get(Role::TokenEmbedding, None)).unwrap();
    let logits = x.matmul(&head.t()?)?;
    let m = logits.max_keepdim(D::Minus1)?.detach();
    let lse = (logits.broadcast_sub(&m)?.exp()?.sum_keepdim(D::Minus1)?.log()? + m)?;
    let target = logits.gather(&Tensor::new(targets, dev)?.unsqueeze(1)?, 1)?;
    let loss = (lse - target)?.mean_all()?;
    let kink = net.kink.get();
    Ok(Reference { vars, loss, logits: all_logits, queries, keys, kink, taps })
}
