//! Shapes that others reported to fail and to work (facts §0.4), with surfaces of the size of the packed data, as they allocated
//! them: rows of 64 bytes explain all of them.

use orion_compiler::mil::blob::BlobType;
use orion_compiler::target::{Chip, Route};
use orion_kernels::{Isa, Pool};
use orion_runtime::neural_engine::simulator::{Layout, Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{BlobFiles, Device, DeviceError, Port, Surface};

use crate::fixture::{Loaded, exact, program, settings};

fn copy(shape: &[usize], element: &str) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    let ty = format!("tensor<{element}, [{}]>", dims.join(", "));
    program(
        &format!("{ty} x"),
        &format!("        {ty} y = relu(x = x)[name = string(\"y\")];"),
        "y",
    )
}

/// Whether a program runs on surfaces of so many bytes.
fn runs(shape: &[usize], element: &str, bytes: usize) -> bool {
    let device = exact();
    let mut loaded = Loaded::of(&device, &copy(shape, element), &BlobFiles::default()).unwrap();
    loaded.request.inputs[0].1 = device.surface(bytes).unwrap();
    loaded.request.outputs[0].1 = device.surface(bytes).unwrap();
    match loaded.eval() {
        Ok(()) => true,
        Err(DeviceError::Inference(detail)) => {
            assert!(detail.rule == "ANE004" && detail.native.unwrap().text.contains("0x1d"));
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn packed(shape: &[usize], element: &str) -> usize {
    shape.iter().product::<usize>() * if element == "fp32" { 4 } else { 2 }
}

#[test]
fn shapes_fail_and_work_as_they_were_reported() {
    // SEED and OR: 768 × 1 fails, 768 × 16 works, from 49,152 bytes on. Their operands were fp32.
    for (width, works) in [(1, false), (16, true)] {
        let shape = [1, 768, 1, width];
        assert_eq!(runs(&shape, "fp32", packed(&shape, "fp32")), works, "{width}");
        assert!(runs(&shape, "fp32", 49_152));
        assert!(!runs(&shape, "fp32", 49_151));
    }
    // LR's sweep of fp32: 1, 8, 20, 24, 28 fail, 16 passes.
    for (width, works) in
        [(1, false), (8, false), (16, true), (20, false), (24, false), (28, false)]
    {
        let shape = [1, 64, 1, width];
        assert_eq!(runs(&shape, "fp32", packed(&shape, "fp32")), works, "LR {width}");
    }
    // FG: 32 columns at least for fp16.
    for (width, works) in [(1, false), (8, false), (16, false), (31, false), (32, true), (64, true)]
    {
        let shape = [1, 64, 1, width];
        assert_eq!(runs(&shape, "fp16", packed(&shape, "fp16")), works, "FG {width}");
    }
    // IT: the last of three dimensions is a multiple of 32; 16, 48, 80 and 112 are not.
    for (width, works) in
        [(16, false), (32, true), (48, false), (64, true), (80, false), (96, true), (112, false)]
    {
        let shape = [1, 24, width];
        assert_eq!(runs(&shape, "fp16", packed(&shape, "fp16")), works, "IT {width}");
    }
    // IT: buffers have some 2048 bytes at least; [32, 3] fails.
    assert!(!runs(&[32, 3], "fp16", packed(&[32, 3], "fp16")));
    assert!(runs(&[32, 3], "fp16", 2048));
    // OR #12: an adapter of [1, 768, 1, 16] fails by itself, and works in a surface as large as [768, 32].
    assert!(!runs(&[1, 768, 1, 16], "fp16", packed(&[1, 768, 1, 16], "fp16")));
    assert!(runs(&[1, 768, 1, 16], "fp16", packed(&[768, 32], "fp16")));
}

/// IT: a column beside a matrix gives zeros and garbage when it is written packed, since its elements lie 64 bytes apart.
#[test]
fn packed_columns_are_misread_and_strided_ones_are_not() {
    let device = exact();
    let text = program(
        "tensor<fp16, [1, 16, 32]> a, tensor<fp16, [1, 16, 1]> b",
        "        tensor<fp16, [1, 16, 32]> y = mul(x = a, y = b)[name = string(\"y\")];",
        "y",
    );
    let loaded = Loaded::of(&device, &text, &BlobFiles::default()).unwrap();
    let column: Vec<f32> = (1..=16).map(|i| i as f32).collect();
    loaded.write("a", &[1.0; 512]);
    loaded.write("b", &column);
    loaded.eval().unwrap();
    let expected: Vec<f32> = column.iter().flat_map(|&x| [x; 32]).collect();
    assert_eq!(loaded.read("y"), expected);

    let port = &loaded.inputs[1];
    let as_if_packed = Port { row_stride: 2, plane_stride: 32, ..port.clone() };
    let surface = &loaded.request.inputs[1].1;
    surface.clear();
    surface.write_f32(&as_if_packed, &column).unwrap();
    loaded.eval().unwrap();
    let found = loaded.read("y");
    assert_eq!(found[..32], [1.0; 32], "the first row is where it should be");
    assert_eq!(found[32..], [0.0; 480], "the others read zeros");
}

#[test]
fn the_packed_layout_is_an_option_and_the_same_for_even_rows() {
    let layout = Layout::OrionPacked;
    let device =
        Simulator::new(Settings { layout, ..settings(Chip::M4, Route::InMemory, Numerics::Exact) });
    for (width, row_stride) in [(16, 32), (32, 64)] {
        let text = copy(&[1, 768, 1, width], "fp16");
        let loaded = Loaded::of(&device, &text, &BlobFiles::default()).unwrap();
        let port = &loaded.inputs[0];
        assert_eq!((port.row_stride, port.bytes), (row_stride, 49_152));
        let x: Vec<f32> = (0..768 * width).map(|i| (i % 1000) as f32).collect();
        loaded.write("x", &x);
        loaded.eval().unwrap();
        assert_eq!(loaded.read("y"), x);
    }
}

#[test]
fn threads_that_share_a_copy_write_what_one_thread_writes() {
    let device = Simulator::new(Settings::default());
    for (channels, height, width, row_stride) in [(5, 1, 24, 64), (7, 3, 32, 64), (1, 1, 1, 64)] {
        let port = Port {
            name: "w".to_owned(),
            symbol: 0,
            batch: 1,
            channels,
            height,
            width,
            row_stride,
            plane_stride: height * row_stride,
            bytes: channels * height * row_stride,
            element: BlobType::F16,
        };
        let x: Vec<f32> = (0..port.elements()).map(|at| at as f32 / 3.0).collect();
        let bytes = |write: &dyn Fn(&Surface)| {
            let surface = device.surface(port.bytes).unwrap();
            write(&surface);
            let mut bytes = Vec::new();
            surface.memory().read(&mut |memory| bytes.extend_from_slice(memory));
            bytes
        };
        let alone = bytes(&|surface| surface.write_f32(&port, &x).unwrap());
        for threads in [1, 2, 3, 16] {
            let pool = Pool::new(threads, Isa::detect());
            let shared = bytes(&|surface| surface.write_shared_f32(&pool, &port, &x).unwrap());
            assert!(shared == alone, "{threads} threads, {channels} x {height} x {width}");
        }
    }
}
