use orion_kernels::*;
use std::time::Instant;
fn best(n: usize, mut f: impl FnMut()) -> f64 {
    f();
    (0..n)
        .map(|_| {
            let t = Instant::now();
            f();
            t.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}
fn mk(pool: &Pool, f: WeightFormat, rows: usize, cols: usize) -> PackedMatrix {
    let w: Vec<f32> =
        (0..rows * cols).map(|i| ((i * 2654435761usize) % 1000) as f32 / 1000.0 - 0.5).collect();
    let mut b = vec![0u8; f.row_bytes(rows * cols).unwrap()];
    format::encode(f, &w, &mut b);
    PackedMatrix::pack(
        pool,
        f,
        &MatrixSource {
            format: f,
            rows,
            columns: cols,
            bytes: &b,
            transposed: false,
            row_order: None,
            release: None,
        },
    )
    .unwrap()
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let what = args.get(1).map(String::as_str).unwrap_or("all");
    for threads in [1, 2] {
        let isas: Vec<Isa> = if args.len() > 2 { Isa::available() } else { vec![Isa::detect()] };
        for isa in isas {
            let pool = Pool::new(threads, isa);
            let mut s = Scratch::new();
            println!("== threads {threads} isa {isa:?}");
            if what == "limits" || what == "all" {
                println!(
                    "read 512M {:.1} GB/s 219M {:.1} f32 {:.0} bf16 {:.0?} int8 {:.0?}",
                    limits::read_bandwidth(&pool, 512 << 20).unwrap(),
                    limits::read_bandwidth(&pool, 219 << 20).unwrap(),
                    limits::f32_gflops(&pool),
                    limits::bf16_gflops(&pool),
                    limits::int8_gops(&pool)
                );
            }
            if what == "pool" || what == "all" {
                let n = 20000;
                let t = best(5, || {
                    for _ in 0..n {
                        pool.run(|_| {});
                    }
                });
                println!("run {:.2} us", t / n as f64 * 1e6);
            }
            if what == "decode" || what == "all" {
                for f in [WeightFormat::BF16, WeightFormat::F32, WeightFormat::F16] {
                    let mut ms = vec![];
                    for _ in 0..12 {
                        for _ in 0..4 {
                            ms.push(mk(&pool, f, 768, 768));
                        }
                        for _ in 0..2 {
                            ms.push(mk(&pool, f, 2048, 768));
                        }
                        ms.push(mk(&pool, f, 768, 2048));
                    }
                    ms.push(mk(&pool, f, 32000, 768));
                    let total: usize = ms.iter().map(|m| m.bytes()).sum();
                    let x = vec![0.5f32; 2048 * 8];
                    let mut y = vec![0f32; 32000 * 8];
                    for m in [1, 2, 4, 8] {
                        let t = best(7, || {
                            for w in &ms {
                                matmul(
                                    &pool,
                                    &mut s,
                                    &x[..m * w.columns()],
                                    m,
                                    &[w],
                                    &mut [&mut y[..m * w.rows()]],
                                );
                            }
                        });
                        println!(
                            "{:?} m={m} model {} MB {:.2} ms {:.2} GB/s  limit {:.2}",
                            f,
                            total >> 20,
                            t * 1e3,
                            total as f64 / t / 1e9,
                            limits::read_bandwidth(&pool, total).unwrap()
                        );
                    }
                    // L2-resident
                    let w = mk(&pool, f, 768, 768);
                    let n = 50;
                    let t = best(20, || {
                        for _ in 0..n {
                            matmul(&pool, &mut s, &x[..768], 1, &[&w], &mut [&mut y[..768]]);
                        }
                    });
                    println!(
                        "  cached 768x768 {:.2} us {:.1} GB/s",
                        t / n as f64 * 1e6,
                        n as f64 * w.bytes() as f64 / t / 1e9
                    );
                }
            }
            if what == "prefill" || what == "all" {
                let peak = limits::f32_gflops(&pool);
                for f in [WeightFormat::BF16, WeightFormat::F32] {
                    for m in [17, 64, 256, 512] {
                        for (r, c) in [(768, 768), (2048, 768), (768, 2048)] {
                            let w = mk(&pool, f, r, c);
                            let x = vec![0.5f32; m * c];
                            let mut y = vec![0f32; m * r];
                            let t = best(9, || matmul(&pool, &mut s, &x, m, &[&w], &mut [&mut y]));
                            let g = 2.0 * (m * r * c) as f64 / t / 1e9;
                            println!(
                                "{:?} m={m} {r}x{c} {:.2} ms {:.0} GFLOP/s {:.0}%",
                                f,
                                t * 1e3,
                                g,
                                g / peak * 100.0
                            );
                        }
                    }
                }
            }
            if what == "pack" || what == "all" {
                let bytes = vec![1u8; 109_000_000 * 2];
                let t = best(5, || {
                    let p = PackedMatrix::pack(
                        &pool,
                        WeightFormat::BF16,
                        &MatrixSource {
                            format: WeightFormat::BF16,
                            rows: 109_000_000 / 768,
                            columns: 768,
                            bytes: &bytes[..109_000_000 / 768 * 768 * 2],
                            transposed: false,
                            row_order: None,
                            release: None,
                        },
                    )
                    .unwrap();
                    std::hint::black_box(&p);
                });
                println!("pack 218 MB {:.1} ms", t * 1e3);
            }
        }
    }
}
