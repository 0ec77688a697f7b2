//! Workloads in a compact form, as the table of published figures has them: `conv 512->512 k1 1x64 x128 shared f32`.

use std::str::FromStr;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `conv IN->OUT kK HxW`: convolutions that keep the size of the image, one behind the other.
    Convolution {
        /// Input channels.
        from: u64,
        /// Output channels.
        to: u64,
        /// Side of the window.
        window: u64,
        /// Height and width.
        image: [u64; 2],
    },
    /// `matmul MxKxN`: a matrix by a constant one.
    Matmul([u64; 3]),
    /// `product MxKxN`: two matrices that are both given anew.
    Product([u64; 3]),
    /// `relu RxD` and others: an operation on rows.
    Rows(RowOperation, [u64; 2]),
    /// `attention sS dD hH`: projections, scores, softmax, sums, projection.
    Attention {
        /// Positions.
        length: u64,
        /// Width.
        width: u64,
        /// Heads.
        heads: u64,
    },
    /// `sdpa hH sS dD`: the operation itself.
    Sdpa {
        /// Heads.
        heads: u64,
        /// Positions.
        length: u64,
        /// Width of a head.
        width: u64,
    },
    /// `head K->N/P`: a row by a constant matrix in `P` parts, as convolutions.
    Head {
        /// Length of the row.
        from: u64,
        /// Length of the result.
        to: u64,
        /// Parts.
        parts: u64,
    },
    /// `decode lL dD hH/KV fF vV sS`: a token of a Llama with its cache as inputs.
    Decode(Decoder),
}

/// An operation on rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOperation {
    /// `relu`.
    Relu,
    /// `gelu`.
    Gelu,
    /// `reduce_sum` along the rows.
    Sum,
    /// `softmax`.
    Softmax,
    /// Ten operations, as ANEForge writes it.
    LayerNorm,
    /// Four operations, as ANEForge writes it.
    RmsNorm,
}

/// Sizes of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    /// Layers.
    pub layers: u64,
    /// Width.
    pub width: u64,
    /// Heads of queries.
    pub heads: u64,
    /// Heads of keys and values.
    pub key_heads: u64,
    /// Width between.
    pub hidden: u64,
    /// Tokens that there are.
    pub vocabulary: u64,
    /// Positions of the cache.
    pub cache: u64,
}

/// How constants are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// fp16.
    #[default]
    Half,
    /// `int8`: with a scale for each output channel.
    Int8,
    /// `int4`, `lut6`: indices of so many bits into a table.
    Table(u64),
    /// `sparse`: 32 % are not zero, as in ANEForge's benchmark.
    Sparse,
    /// `w8a8`: activations in int8 too.
    Int8Activations,
}

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What is computed.
    pub kind: Kind,
    /// How many at once: `b8`.
    pub batch: u64,
    /// How often, one behind the other: `x128`.
    pub depth: u64,
    /// Into how many parts the sums are cut: `split2`. 0, `mended`, is what [`notch::split`](super::super::notch::split) says.
    pub parts: u64,
    /// How constants are stored.
    pub packing: Packing,
    /// Whether all operations read the same constant: `shared`.
    pub is_shared: bool,
    /// Whether an activation follows each: `relu`.
    pub has_relu: bool,
    /// Whether inputs and results are f32: `f32`.
    pub is_f32: bool,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no workload");
        let mut words = text.split_whitespace();
        let name = words.next().ok_or_else(wrong)?;
        let mut rest: Vec<&str> = words.collect();
        let kind = kind(name, &mut rest).ok_or_else(wrong)?;
        let mut workload = Self {
            kind,
            batch: 1,
            depth: 1,
            parts: 1,
            packing: Packing::Half,
            is_shared: false,
            has_relu: false,
            is_f32: false,
        };
        for word in rest {
            match word {
                "shared" => workload.is_shared = true,
                "relu" => workload.has_relu = true,
                "f32" => workload.is_f32 = true,
                "int8" => workload.packing = Packing::Int8,
                "int4" => workload.packing = Packing::Table(4),
                "lut6" => workload.packing = Packing::Table(6),
                "sparse" => workload.packing = Packing::Sparse,
                "w8a8" => workload.packing = Packing::Int8Activations,
                "mended" => workload.parts = 0,
                _ => {
                    if let Some(parts) = number(word, "split") {
                        workload.parts = parts;
                    } else if let Some(batch) = number(word, "b") {
                        workload.batch = batch;
                    } else {
                        workload.depth = number(word, "x").ok_or_else(wrong)?;
                    }
                }
            }
        }
        Ok(workload)
    }
}

fn kind(name: &str, rest: &mut Vec<&str>) -> Option<Kind> {
    let rows = |operation, rest: &mut Vec<&str>| Some(Kind::Rows(operation, sizes(take(rest)?)?));
    match name {
        "conv" => {
            let (from, to) = take(rest)?.split_once("->")?;
            let window = number(take(rest)?, "k")?;
            let image = sizes(take(rest)?)?;
            Some(Kind::Convolution {
                from: from.parse().ok()?,
                to: to.parse().ok()?,
                window,
                image,
            })
        }
        "matmul" => Some(Kind::Matmul(sizes(take(rest)?)?)),
        "product" => Some(Kind::Product(sizes(take(rest)?)?)),
        "relu" => rows(RowOperation::Relu, rest),
        "gelu" => rows(RowOperation::Gelu, rest),
        "sum" => rows(RowOperation::Sum, rest),
        "softmax" => rows(RowOperation::Softmax, rest),
        "layer_norm" => rows(RowOperation::LayerNorm, rest),
        "rms_norm" => rows(RowOperation::RmsNorm, rest),
        "attention" => Some(Kind::Attention {
            length: number(take(rest)?, "s")?,
            width: number(take(rest)?, "d")?,
            heads: number(take(rest)?, "h")?,
        }),
        "sdpa" => Some(Kind::Sdpa {
            heads: number(take(rest)?, "h")?,
            length: number(take(rest)?, "s")?,
            width: number(take(rest)?, "d")?,
        }),
        "head" => {
            let (from, to) = take(rest)?.split_once("->")?;
            let (to, parts) = to.split_once('/')?;
            let [from, to, parts] = [from, to, parts].map(|word| word.parse().ok());
            Some(Kind::Head { from: from?, to: to?, parts: parts? })
        }
        "decode" => {
            let layers = number(take(rest)?, "l")?;
            let width = number(take(rest)?, "d")?;
            let heads = take(rest)?;
            let (heads, key_heads) = heads.split_once('/').unwrap_or((heads, heads.get(1..)?));
            Some(Kind::Decode(Decoder {
                layers,
                width,
                heads: number(heads, "h")?,
                key_heads: key_heads.parse().ok()?,
                hidden: number(take(rest)?, "f")?,
                vocabulary: number(take(rest)?, "v")?,
                cache: number(take(rest)?, "s")?,
            }))
        }
        _ => None,
    }
}

fn take<'t>(rest: &mut Vec<&'t str>) -> Option<&'t str> {
    (!rest.is_empty()).then(|| rest.remove(0))
}

fn number(word: &str, letter: &str) -> Option<u64> {
    word.strip_prefix(letter)?.parse().ok().filter(|&number| number > 0)
}

fn sizes<const N: usize>(word: &str) -> Option<[u64; N]> {
    let sizes: Option<Vec<u64>> = word.split('x').map(|size| size.parse().ok()).collect();
    sizes?.try_into().ok()
}
