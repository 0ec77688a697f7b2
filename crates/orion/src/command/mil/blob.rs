//! `orion mil blob`: the constants of a weight file.

use std::path::PathBuf;

use clap::Args;
use orion_compiler::mil::blob::{Blob as Constant, BlobFile, BlobType};
use orion_kernels::memory::MappedFile;
use serde_json::json;

use crate::failure::Failure;
use crate::output;

/// List the constants of a weight file
///
/// The file is MIL blob storage, the weight.bin of a compiled model. The offset is what BLOBFILE says of a constant.
#[derive(Debug, Args)]
pub(crate) struct Blob {
    /// Weight file
    file: PathBuf,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Blob {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let name = self.file.display();
        let file = MappedFile::open(&self.file)
            .map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        let blobs = BlobFile::open(file.bytes()).and_then(|storage| storage.blobs());
        let blobs = blobs.map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        if self.json {
            let list: Vec<_> = blobs
                .iter()
                .map(|blob| {
                    let (smallest, largest) = range(blob).unzip();
                    json!({
                        "offset": blob.offset,
                        "type": blob.ty.name(),
                        "elements": blob.elements(),
                        "bytes": blob.data.len(),
                        "smallest": smallest,
                        "largest": largest,
                    })
                })
                .collect();
            return output::write_line(&json!({ "constants": list }).to_string());
        }
        let mut text = format!(
            "{:>12}  {:<10}{:>14}{:>14}  smallest .. largest\n",
            "offset", "type", "elements", "bytes"
        );
        for blob in &blobs {
            let range =
                range(blob).map_or_else(String::new, |(low, high)| format!("{low} .. {high}"));
            let (offset, ty, bytes) = (blob.offset, blob.ty.name(), blob.data.len());
            text += &format!("{offset:>12}  {ty:<10}{:>14}{bytes:>14}  {range}\n", blob.elements());
        }
        output::write(&text)
    }
}

/// The smallest and largest element of a constant of real numbers; NaN counts as none.
fn range(blob: &Constant<'_>) -> Option<(f32, f32)> {
    let of = |values: &mut dyn Iterator<Item = f32>| {
        values.filter(|x| !x.is_nan()).fold(None, |range: Option<(f32, f32)>, x| {
            let (low, high) = range.unwrap_or((x, x));
            Some((low.min(x), high.max(x)))
        })
    };
    let halves = || blob.data.as_chunks::<2>().0.iter().copied();
    match blob.ty {
        BlobType::F16 => of(&mut halves().map(|x| half::f16::from_le_bytes(x).to_f32())),
        BlobType::BF16 => of(&mut halves().map(|x| half::bf16::from_le_bytes(x).to_f32())),
        BlobType::F32 => {
            of(&mut blob.data.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)))
        }
        _ => None,
    }
}
