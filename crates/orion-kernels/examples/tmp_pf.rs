#![allow(unsafe_op_in_unsafe_fn)]
use orion_kernels::*;
use std::arch::x86_64::*;
use std::hint::black_box;
use std::time::Instant;
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn gv<const D: usize, const H: i32, const U: usize>(
    w: *const u8,
    len: usize,
    x: &[f32; 768],
    y: &mut [f32],
) {
    let groups = len / (768 * 32);
    for g in 0..groups {
        let w = w.add(g * 768 * 32);
        let mut s = [[_mm512_setzero_ps(); 2]; U];
        let mask = _mm512_set1_epi32(0xffff0000u32 as i32);
        let mut k = 0;
        while k < 384 {
            for u in 0..U {
                let at = w.add((k + u) * 64);
                if D > 0 {
                    _mm_prefetch::<H>(at.wrapping_add(D).cast());
                }
                let p = _mm512_loadu_si512(at.cast());
                s[u][0] = _mm512_fmadd_ps(
                    _mm512_set1_ps(x[2 * (k + u)]),
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(p)),
                    s[u][0],
                );
                s[u][1] = _mm512_fmadd_ps(
                    _mm512_set1_ps(x[2 * (k + u) + 1]),
                    _mm512_castsi512_ps(_mm512_and_si512(p, mask)),
                    s[u][1],
                );
            }
            k += U;
        }
        let mut t = _mm512_setzero_ps();
        for u in 0..U {
            t = _mm512_add_ps(t, _mm512_add_ps(s[u][0], s[u][1]));
        }
        _mm512_storeu_ps(y.as_mut_ptr().add(g * 16), t);
    }
}
// four streams: thread range split in 2 sub streams
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn gv2<const D: usize, const H: i32>(
    w: *const u8,
    len: usize,
    x: &[f32; 768],
    y: &mut [f32],
) {
    let groups = len / (768 * 32) / 2;
    let off = groups * 768 * 32;
    for g in 0..groups {
        let w = w.add(g * 768 * 32);
        let mut s = [[_mm512_setzero_ps(); 2]; 4];
        let mask = _mm512_set1_epi32(0xffff0000u32 as i32);
        let mut k = 0;
        while k < 384 {
            for u in 0..2 {
                for h in 0..2 {
                    let at = w.add((k + u) * 64 + h * off);
                    if D > 0 {
                        _mm_prefetch::<H>(at.wrapping_add(D).cast());
                    }
                    let p = _mm512_loadu_si512(at.cast());
                    let i = u * 2 + h;
                    s[i][0] = _mm512_fmadd_ps(
                        _mm512_set1_ps(x[2 * (k + u)]),
                        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(p)),
                        s[i][0],
                    );
                    s[i][1] = _mm512_fmadd_ps(
                        _mm512_set1_ps(x[2 * (k + u) + 1]),
                        _mm512_castsi512_ps(_mm512_and_si512(p, mask)),
                        s[i][1],
                    );
                }
            }
            k += 2;
        }
        let t = _mm512_add_ps(_mm512_add_ps(s[0][0], s[0][1]), _mm512_add_ps(s[2][0], s[2][1]));
        _mm512_storeu_ps(y.as_mut_ptr().add(g * 16), t);
        let t = _mm512_add_ps(_mm512_add_ps(s[1][0], s[1][1]), _mm512_add_ps(s[3][0], s[3][1]));
        _mm512_storeu_ps(y.as_mut_ptr().add((groups + g) * 16), t);
    }
}
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn ga<const D: usize, const H: i32, const G: usize, const U: usize>(
    w: *const u8,
    len: usize,
    x: &[f32; 768],
    y: &mut [f32],
) {
    let groups = len / (768 * 32);
    let off = 768 * 32;
    let mut g = 0;
    while g + G <= groups {
        let w = w.add(g * off);
        let mut s = [[[_mm512_setzero_ps(); 2]; G]; U];
        let mask = _mm512_set1_epi32(0xffff0000u32 as i32);
        let mut k = 0;
        while k < 384 {
            for u in 0..U {
                for h in 0..G {
                    let at = w.add((k + u) * 64 + h * off);
                    if D > 0 {
                        _mm_prefetch::<H>(at.wrapping_add(D).cast());
                    }
                    let p = _mm512_loadu_si512(at.cast());
                    s[u][h][0] = _mm512_fmadd_ps(
                        _mm512_set1_ps(x[2 * (k + u)]),
                        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(p)),
                        s[u][h][0],
                    );
                    s[u][h][1] = _mm512_fmadd_ps(
                        _mm512_set1_ps(x[2 * (k + u) + 1]),
                        _mm512_castsi512_ps(_mm512_and_si512(p, mask)),
                        s[u][h][1],
                    );
                }
            }
            k += U;
        }
        for h in 0..G {
            let mut t = _mm512_setzero_ps();
            for u in 0..U {
                t = _mm512_add_ps(t, _mm512_add_ps(s[u][h][0], s[u][h][1]));
            }
            _mm512_storeu_ps(y.as_mut_ptr().add((g + h) * 16), t);
        }
        g += G;
    }
}
#[target_feature(enable = "avx512f")]
unsafe fn rd<const D: usize, const H: i32>(w: *const u8, len: usize) -> i64 {
    let mut s = [_mm512_setzero_si512(); 8];
    let mut i = 0;
    while i < len {
        for u in 0..8 {
            let at = w.add(i + u * 64);
            if D > 0 {
                _mm_prefetch::<H>(at.wrapping_add(D).cast());
            }
            s[u] = _mm512_xor_si512(s[u], _mm512_loadu_si512(at.cast()));
        }
        i += 512;
    }
    black_box(s);
    0
}
fn main() {
    let len = 768 * 32 * 8800;
    let mut b = PageBuffer::zeroed(len + 65536).unwrap();
    b.as_mut_slice::<u8>().fill(1);
    let w = b.as_slice::<u8>().as_ptr();
    let x = [0.5f32; 768];
    let mut y = vec![0f32; len / 32 / 768 * 16 + 64];
    let mut names = vec![];
    let mut f: Vec<Box<dyn FnMut()>> = vec![];
    let yp = y.as_mut_ptr();
    let yl = y.len();
    macro_rules! v {
        ($n:expr,$e:expr) => {
            names.push($n);
            f.push(Box::new(move || unsafe {
                let y = std::slice::from_raw_parts_mut(yp, yl);
                let _ = &y;
                $e(y)
            }));
        };
    }
    v!("rd 2048 t0", |_y: &mut [f32]| {
        black_box(rd::<2048, 3>(w, len));
    });
    v!("rd 8192 t1", |_y: &mut [f32]| {
        black_box(rd::<8192, 2>(w, len));
    });
    v!("gv 4096 t0", |y: &mut [f32]| gv::<4096, 3, 4>(w, len, &x, y));
    v!("gv 8192 t0", |y: &mut [f32]| gv::<8192, 3, 4>(w, len, &x, y));
    v!("gv 16384 t0", |y: &mut [f32]| gv::<16384, 3, 4>(w, len, &x, y));
    v!("gv 8192 t1", |y: &mut [f32]| gv::<8192, 2, 4>(w, len, &x, y));
    v!("gv 16384 t1", |y: &mut [f32]| gv::<16384, 2, 4>(w, len, &x, y));
    v!("gv 32768 t1", |y: &mut [f32]| gv::<32768, 2, 4>(w, len, &x, y));
    v!("gv2 4096 t0", |y: &mut [f32]| gv2::<4096, 3>(w, len, &x, y));
    v!("gv2 8192 t0", |y: &mut [f32]| gv2::<8192, 3>(w, len, &x, y));
    v!("gv2 4096 t1", |y: &mut [f32]| gv2::<4096, 2>(w, len, &x, y));
    v!("gv2 8192 t1", |y: &mut [f32]| gv2::<8192, 2>(w, len, &x, y));
    v!("gv2 16384 t1", |y: &mut [f32]| gv2::<16384, 2>(w, len, &x, y));
    v!("ga2 2048 t0", |y: &mut [f32]| ga::<2048, 3, 2, 2>(w, len, &x, y));
    v!("ga2 4096 t0", |y: &mut [f32]| ga::<4096, 3, 2, 2>(w, len, &x, y));
    v!("ga2 8192 t0", |y: &mut [f32]| ga::<8192, 3, 2, 2>(w, len, &x, y));
    v!("ga2 24576 t0", |y: &mut [f32]| ga::<24576, 3, 2, 2>(w, len, &x, y));
    v!("ga2 49152 t1", |y: &mut [f32]| ga::<49152, 2, 2, 2>(w, len, &x, y));
    v!("ga2 4096 t1", |y: &mut [f32]| ga::<4096, 2, 2, 2>(w, len, &x, y));
    v!("ga2 8192 t1", |y: &mut [f32]| ga::<8192, 2, 2, 2>(w, len, &x, y));
    v!("ga2 16384 t1", |y: &mut [f32]| ga::<16384, 2, 2, 2>(w, len, &x, y));
    v!("ga4 2048 t0", |y: &mut [f32]| ga::<2048, 3, 4, 1>(w, len, &x, y));
    v!("ga4 4096 t0", |y: &mut [f32]| ga::<4096, 3, 4, 1>(w, len, &x, y));
    v!("ga4 8192 t0", |y: &mut [f32]| ga::<8192, 3, 4, 1>(w, len, &x, y));
    v!("ga4 24576 t0", |y: &mut [f32]| ga::<24576, 3, 4, 1>(w, len, &x, y));
    v!("ga4 49152 t1", |y: &mut [f32]| ga::<49152, 2, 4, 1>(w, len, &x, y));
    v!("ga4 4096 t1", |y: &mut [f32]| ga::<4096, 2, 4, 1>(w, len, &x, y));
    v!("ga4 8192 t1", |y: &mut [f32]| ga::<8192, 2, 4, 1>(w, len, &x, y));
    v!("ga4 16384 t1", |y: &mut [f32]| ga::<16384, 2, 4, 1>(w, len, &x, y));
    let mut best = vec![f64::INFINITY; f.len()];
    let reps: usize = std::env::args().nth(1).map_or(15, |s| s.parse().unwrap());
    for _ in 0..reps {
        for (b, f) in best.iter_mut().zip(&mut f) {
            let t = Instant::now();
            f();
            *b = b.min(t.elapsed().as_secs_f64());
        }
    }
    for (n, b) in names.iter().zip(best) {
        println!("{n}: {:.2} GB/s", len as f64 / b / 1e9);
    }
}
