use rigl_kernels::conv::*;
use rigl_kernels::maps::*;
use rigl_kernels::*;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let threads: usize = args.get(1).map_or(1, |a| a.parse().unwrap());
    let density: f64 = args.get(2).map_or(0.1, |a| a.parse().unwrap());
    let isa = Isa::detect();
    let machine = Machine::new(isa, threads);
    let samples: usize = std::env::var("SAMPLES").map_or(128, |s| s.parse().unwrap());
    let peak = measure::multiply_add_peak(isa) * threads as f64;
    println!(
        "peak {:.1} GFLOP/s per core, bandwidth {:.1} GB/s",
        peak / 1e9 / threads as f64,
        measure::read_bandwidth(&machine).unwrap() / 1e9
    );
    let only: Option<usize> = args.get(3).map(|a| a.parse().unwrap());
    for (number, (i, o, side, k, s)) in [
        (16, 32, 32, 3, 1),
        (32, 32, 32, 3, 1),
        (32, 64, 32, 3, 2),
        (64, 64, 16, 3, 1),
        (64, 128, 16, 3, 2),
        (128, 128, 8, 3, 1),
        (64, 128, 16, 1, 2),
    ]
    .into_iter()
    .enumerate()
    {
        if only.is_some_and(|n| n != number) {
            continue;
        }
        let shape = ConvShape {
            inputs: i,
            rows: side,
            columns: side,
            outputs: o,
            kernel: k,
            stride: s,
            padding: k / 2,
            groups: 1,
        };
        let n = shape.weight_len();
        let mut state = 12345u64;
        let mut rnd = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let indices: Vec<u32> = (0..n as u32).filter(|_| rnd() < density).collect();
        let values: Vec<f32> = indices.iter().map(|_| rnd() as f32 - 0.5).collect();
        let dense: Vec<f32> = (0..n).map(|_| rnd() as f32 - 0.5).collect();
        let stream = ConvStream::new(shape, &indices).unwrap();
        let taps = ConvTaps::new(shape).unwrap();
        let size = Forward::workspace(&shape, n, samples).max(Backward::workspace(&shape, n, n, samples));
        let mut ws = Workspace::new(threads, size).unwrap();
        let (xl, yl) =
            (shape.input().len(blocks(samples)).unwrap(), shape.output().len(blocks(samples)).unwrap());
        let mut arena = Arena::new(2 * xl + 3 * yl).unwrap();
        let ([], [x, dx, y, dy, keep]) = arena
            .borrow(
                [],
                [
                    0..xl,
                    xl..2 * xl,
                    2 * xl..2 * xl + yl,
                    2 * xl + yl..2 * xl + 2 * yl,
                    2 * xl + 2 * yl..2 * xl + 3 * yl,
                ],
            )
            .unwrap();
        x.iter_mut().for_each(|v| *v = rnd() as f32 - 0.5);
        dy.iter_mut().for_each(|v| *v = rnd() as f32 - 0.5);
        let _ = keep;
        let ones = vec![1.0; i.max(o)];
        let zeros = vec![0.0; i.max(o)];
        let view = |x| View {
            map: x,
            norm: Some(Affine { mean: &zeros[..i], scale: &ones[..i], offset: &zeros[..i] }),
            relu: true,
            dropout: None,
        };
        let mut sums = vec![0.0; 2 * i.max(o)];
        let mut report = String::new();
        for (name, weights, count) in [
            ("sparse", Weights::Sparse(&stream, &values), indices.len()),
            ("dense", Weights::Dense(&taps, &dense), n),
        ] {
            if std::env::var("ONLY").is_ok_and(|o| o != name) {
                continue;
            }
            let flop = 2.0 * count as f64 * (shape.output().rows * shape.output().columns * samples) as f64;
            let mut gs = vec![0.0f32; indices.len()];
            let mut gd = vec![0.0f32; n];
            let mut best = [f64::MAX; 5];
            for _ in 0..args.get(4).map_or(7, |a| a.parse().unwrap()) {
                let t = Instant::now();
                Forward {
                    weights,
                    bias: None,
                    x: view(x),
                    residual: None,
                    y,
                    statistics: Some(Statistics { shift: &zeros[..o], sums: &mut sums[..2 * o] }),
                    samples,
                }
                .run(&machine, &mut ws)
                .unwrap();
                best[0] = best[0].min(t.elapsed().as_secs_f64());
                if std::env::var("FWD").is_ok() {
                    continue;
                }
                for (slot, w, d) in [(1, true, false), (2, false, true), (3, true, true)]
                    .into_iter()
                    .filter(|s| std::env::var("SLOT").map_or(true, |v| v.parse::<usize>().unwrap() == s.0))
                {
                    let t = Instant::now();
                    let weight = if !w {
                        WeightGradient::None
                    } else if count == n {
                        WeightGradient::Dense(&taps, &mut gd)
                    } else {
                        WeightGradient::Sparse(&stream, &mut gs)
                    };
                    Backward {
                        weights,
                        x: view(x),
                        gradient: GradientView { direct: Some(dy), norm: None },
                        keep: None,
                        weight,
                        bias: None,
                        accumulate: false,
                        data: d.then_some(DataGradient {
                            out: dx,
                            accumulate: false,
                            sums: Some(&mut sums[..2 * i]),
                        }),
                        samples,
                    }
                    .run(&machine, &mut ws)
                    .unwrap();
                    best[slot] = best[slot].min(t.elapsed().as_secs_f64());
                }
            }
            report += &format!(
                " | {name} fwd {:.2} ms {:.0}% dW {:.2} {:.0}% dX {:.2} {:.0}% both {:.2} {:.0}%",
                best[0] * 1e3,
                flop / best[0] / peak * 100.,
                best[1] * 1e3,
                flop / best[1] / peak * 100.,
                best[2] * 1e3,
                flop / best[2] / peak * 100.,
                best[3] * 1e3,
                2. * flop / best[3] / peak * 100.
            );
        }
        println!("{i}->{o} {side} k{k} s{s}{report}");
    }
}
