//! What is at a path.

use orion_runtime::weights::{Description, open};

use crate::fixture::{file, golden, golden_bytes};

fn refusal(name: &str, bytes: &[u8]) -> String {
    let (folder, path) = file(name, bytes);
    let error = open(&path).err().unwrap().to_string();
    drop(folder);
    let (_, rest) = error.split_once(&format!("{name}: ")).unwrap();
    rest.to_owned()
}

#[test]
fn contents_decide_and_not_names() {
    let (_folder, path) = file("model", &golden_bytes("types.gguf"));
    assert!(matches!(open(&path).unwrap().description, Description::Gguf(_)));
    let (_folder, path) = file("model.safetensors", &golden_bytes("llama2c_v1.bin"));
    assert!(matches!(open(&path).unwrap().description, Description::Llama2c { .. }));
    assert!(matches!(
        open(&golden("llama2c_v0.bin")).unwrap().description,
        Description::Llama2c { .. }
    ));
}

#[test]
fn what_people_have_instead_of_a_model_is_named() {
    for (bytes, expected) in [
        (&b""[..], "the file is empty; download or convert it again"),
        (
            b"PK\x03\x04....",
            "a zip archive, such as a PyTorch checkpoint; convert it to safetensors, or unpack it",
        ),
        (b"<!DOCTYPE html>", "a web page; download the file itself"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, not the file that it points to; fetch the file with `git lfs pull`",
        ),
        (
            b"garbage",
            "the file is neither GGUF, safetensors nor a llama2.c checkpoint; \
             give a .gguf, .safetensors or llama2.c .bin file, or a Hugging Face folder",
        ),
    ] {
        assert_eq!(refusal("model.dat", bytes), expected);
    }
    let text = refusal("model.gguf", b"garbage");
    assert!(text.starts_with("byte 0: a GGUF file starts with `GGUF`"), "{text}");
    let text = refusal("model.bin", b"garbage garbage garbage garbage");
    assert!(text.starts_with("byte 0: a llama2.c header has a dim from 1 to"), "{text}");
}

#[test]
fn a_missing_path_and_a_missing_configuration_are_told_apart() {
    let folder = tempfile::TempDir::new().unwrap();
    let error = open(&folder.path().join("none.gguf")).err().unwrap().to_string();
    assert!(error.starts_with("cannot read") && error.contains("none.gguf"), "{error}");
    let weights = folder.path().join("model.safetensors");
    std::fs::copy(golden("mixed.safetensors"), &weights).unwrap();
    for path in [folder.path(), &weights] {
        let error = open(path).err().unwrap().to_string();
        assert!(
            error.ends_with(
                "config.json: the file is missing; put the model's config.json beside its weights"
            ),
            "{error}"
        );
    }
    std::fs::write(folder.path().join("config.json"), "[]").unwrap();
    let error = open(&weights).err().unwrap().to_string();
    assert!(error.contains("config.json: whole file: not the expected JSON"), "{error}");
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert_eq!(open(folder.path()).unwrap().weights.entries().len(), 6);
}

#[test]
fn a_folder_without_a_model_says_what_it_found() {
    let folder = tempfile::TempDir::new().unwrap();
    let refusal = || open(folder.path()).err().unwrap().to_string();
    assert!(refusal().contains("a folder without model.safetensors"));
    std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    assert!(refusal().contains("a folder with pytorch_model.bin but no safetensors file"));
    std::fs::write(folder.path().join("a.gguf"), "").unwrap();
    assert!(refusal().contains("a folder with a.gguf; give the .gguf file itself"));
}

#[cfg(unix)]
#[test]
fn a_device_is_no_model() {
    let error = open("/dev/zero".as_ref()).err().unwrap().to_string();
    assert_eq!(error, "/dev/zero: neither a file nor a folder; give a model file or folder");
}
