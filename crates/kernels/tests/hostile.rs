//! Every public function, first on buffers that are exactly as long as they must be and lie between inaccessible
//! pages (so that one element read too far ends this process), then with lengths, shapes, indices, labels and
//! numbers that make no sense: those are refused, and touch nothing either.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rigl_kernels::elementwise::{Activation, activate, activate_backward, multiply};
use rigl_kernels::linear::{self, Epilogue, LinearShape, LinearStream};
use rigl_kernels::loss::softmax_cross_entropy;
use rigl_kernels::map::{BLOCK, MapShape};
use rigl_kernels::optimizer::{Sgd, sgd};
use rigl_kernels::pack::{pack_maps, pack_vectors};
use rigl_kernels::vector::layout::{GROUP, groups, map_len};
use rigl_kernels::{Arena, Error, Isa, Machine, Pool, measure};
use support::case::{Case, number, results, same};
use support::guard::{Buffer, GUARDED, Place};
use support::lengths::{DIMENSIONS, check_lengths};

/// Every public function of the crate, by file. A new one is missing here until the tests below, or those of
/// `hostile_maps`, call it.
const PUBLIC: &[&str] = &[
    "conv/backward run",
    "conv/backward tasks",
    "conv/backward workspace",
    "conv/forward run",
    "conv/forward tasks",
    "conv/forward workspace",
    "conv/shape check",
    "conv/shape input",
    "conv/shape output",
    "conv/shape weight_len",
    "conv/stream count",
    "conv/stream full",
    "conv/stream new",
    "conv/stream shape",
    "conv/taps new",
    "elementwise activate",
    "elementwise activate_backward",
    "elementwise multiply",
    "linear/dense/gradient bias_gradient",
    "linear/dense/gradient gradient",
    "linear/dense/gradient growth",
    "linear/dense/mod tasks",
    "linear/dense/product backward_data",
    "linear/dense/product forward",
    "linear/sparse backward_data",
    "linear/sparse forward",
    "linear/sparse gradient",
    "linear/sparse tasks",
    "linear/stream bytes",
    "linear/stream count",
    "linear/stream inputs",
    "linear/stream new",
    "linear/stream outputs",
    "linear/stream planned_bytes",
    "linear/stream to_forward",
    "linear/stream to_sorted",
    "loss softmax_cross_entropy",
    "map/dropout draw_mask",
    "map/norm backward",
    "map/norm moments",
    "map/norm run_on",
    "map/norm scale",
    "map/passes run",
    "map/passes run",
    "map/passes workspace",
    "map/shape blocks",
    "map/shape len",
    "map/view plain",
    "optimizer sgd",
    "pack pack_maps",
    "pack pack_vectors",
    "pool/backward run",
    "pool/backward run",
    "pool/backward workspace",
    "pool/backward workspace",
    "pool/forward run",
    "pool/forward run",
    "pool/shape check",
    "pool/shape input",
    "pool/shape output",
    "run/arena borrow",
    "run/arena is_empty",
    "run/arena len",
    "run/arena new",
    "run/fault arm",
    "run/machine met_non_finite",
    "run/machine new",
    "run/machine note",
    "run/measure multiply_add_peak",
    "run/measure read_bandwidth",
    "run/simulate cost",
    "run/simulate makespan",
    "run/threads new",
    "run/threads run",
    "run/threads threads",
    "run/workspace bytes",
    "run/workspace max",
    "run/workspace new",
    "simd/isa available",
    "simd/isa detect",
    "simd/isa name",
    "simd/isa named",
    "vector/layout groups",
    "vector/layout map_len",
    "vector/reshape run",
    "vector/reshape run",
    "vector/reshape run",
    "vector/reshape run",
    "vector/reshape run",
    "vector/reshape run",
    "vector/reshape workspace",
    "vector/reshape workspace",
];

#[test]
fn the_list_of_public_functions_is_that_of_the_sources() {
    fn search(folder: &std::path::Path, module: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{module}{}", path.file_stem().unwrap().to_string_lossy());
            if path.is_dir() {
                search(&path, &format!("{name}/"), found);
                continue;
            }
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let line = line.trim_start();
                let line = line.replacen("pub const fn", "pub fn", 1).replacen("pub unsafe fn", "pub fn", 1);
                if let Some(rest) = line.strip_prefix("pub fn ") {
                    let function = rest.split(['(', '<']).next().unwrap();
                    found.push(format!("{name} {function}"));
                }
            }
        }
    }
    let mut found = Vec::new();
    search(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    found.sort();
    assert_eq!(found, PUBLIC);
}

#[test]
fn no_kernel_touches_what_lies_around_its_buffers() {
    let check = |machine: &Machine, outputs, inputs, samples, density| {
        let case = Case::new(outputs, inputs, samples, density);
        let expected = results(machine, &case, Place::Anywhere);
        for place in GUARDED {
            let what = || {
                let (isa, threads) = (machine.isa.name(), machine.pool.threads());
                format!("{isa} {threads} {outputs}×{inputs} {samples} {density} {place:?}")
            };
            same(&results(machine, &case, place), &expected, &what);
        }
    };
    const SHAPES: [(usize, usize); 12] = [
        (0, 0),
        (0, 5),
        (5, 0),
        (1, 1),
        (1, 17),
        (17, 1),
        (3, 65),
        (70, 5),
        (65, 64),
        (15, 131),
        (129, 66),
        (66, 258),
    ];
    const DENSITIES: [f64; 4] = [0.0, 0.03, 0.5, 1.0];
    for isa in Isa::available() {
        let alone = Machine::new(isa, 1);
        for (i, (outputs, inputs)) in SHAPES.into_iter().enumerate() {
            for (j, samples) in [1, 15, 16, 17, 63, 64, 65, 129, 200, 0].into_iter().enumerate() {
                check(&alone, outputs, inputs, samples, DENSITIES[(i + j) % DENSITIES.len()]);
            }
        }
        for density in DENSITIES {
            check(&alone, 65, 70, 17, density);
        }
        // The widest tile of a stream; and work that is worth several threads, which is long for the portable form.
        check(&alone, 70, 5_000, 65, 0.000_5);
        let counts: &[usize] = if isa == Isa::detect() { &[2, 3, 7, 40] } else { &[2] };
        for &threads in counts {
            check(&Machine::new(isa, threads), 260, 70, 129, 0.9);
        }
    }
}

#[test]
fn passes_over_single_numbers_stay_inside_on_every_number_of_threads() {
    const LEN: usize = 2_000_003;
    let values: Vec<f32> = (0..LEN).map(|i| number(i, 1)).collect();
    let constants = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov: false, l2: 0.01 };
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            let machine = Machine::new(isa, threads);
            let results = |place| {
                let [x, mut y, mut dx, mut w, mut m] = [(); 5].map(|()| Buffer::new(&values, place));
                for f in [Activation::Sigmoid, Activation::LeakyRelu { slope: 0.1 }, Activation::Relu] {
                    activate(&machine, f, &x, &mut y).unwrap();
                    activate_backward(&machine, f, &y, &x, &mut dx, true).unwrap();
                }
                multiply(&machine, &x, &y, &mut dx, true).unwrap();
                sgd(&machine, constants, &x, &mut w, &mut m).unwrap();
                [y, dx, w, m].map(|buffer| buffer.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            };
            let expected = results(Place::Anywhere);
            assert!(GUARDED.iter().all(|&place| results(place) == expected), "{} {threads}", isa.name());
        }
    }
}

#[test]
fn numbers_that_are_none_give_the_same_on_every_instruction_set() {
    const SPECIAL: [f32; 8] =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE / 2.0, -0.0, 0.0];
    for (outputs, inputs, samples) in [(5, 33, 65), (17, 16, 16), (64, 65, 129)] {
        let mut case = Case::new(outputs, inputs, samples, 0.4);
        for values in [&mut case.weights, &mut case.x, &mut case.dy] {
            for (i, value) in values.iter_mut().enumerate().step_by(11) {
                *value = SPECIAL[i / 11 % SPECIAL.len()];
            }
        }
        let each =
            Isa::available().into_iter().map(|isa| (isa, results(&Machine::new(isa, 2), &case, GUARDED[0])));
        let each: Vec<_> = each.collect();
        for (isa, found) in &each {
            same(found, &each[0].1, &|| format!("{} {outputs}×{inputs}", isa.name()));
        }
    }
}

#[test]
fn slices_too_short_or_too_long_are_refused() {
    let (outputs, inputs, samples, groups) = (5, 7, 70, 2);
    let stream = LinearStream::new(outputs, inputs, &[0, 3, 8, 20, 34]).unwrap();
    let shape = LinearShape { outputs, inputs, groups };
    let (x, y, weights, nonzeros) = (inputs * groups * GROUP, outputs * groups * GROUP, outputs * inputs, 5);
    for isa in Isa::available() {
        let machine = &Machine::new(isa, 2);
        let zeros = |len: usize, place| Buffer::new(&vec![0.0f32; len], place);
        check_lengths("sparse forward", [nonzeros, outputs, x, y, y], |[v, b, x, y, gate], p| {
            let [v, b, x, mut y, gate] = [v, b, x, y, gate].map(|len| zeros(len, p));
            let gate = Epilogue::Gate(&gate);
            linear::sparse::forward(machine, &stream, &v, Some(&b), &x, &mut y, groups, gate)
        });
        check_lengths("sparse backward data", [nonzeros, y, x, x], |[v, dy, dx, gate], p| {
            let [v, dy, mut dx, gate] = [v, dy, dx, gate].map(|len| zeros(len, p));
            let gate = Epilogue::Gate(&gate);
            linear::sparse::backward_data(machine, &stream, &v, &dy, &mut dx, groups, gate, true)
        });
        check_lengths("sparse gradient", [x, y, nonzeros], |lengths, p| {
            let [x, dy, mut g] = lengths.map(|len| zeros(len, p));
            linear::sparse::gradient(machine, &stream, &x, &dy, &mut g, groups, false)
        });
        check_lengths("dense forward", [weights, outputs, x, y, y], |lengths, p| {
            let [w, b, x, mut y, gate] = lengths.map(|len| zeros(len, p));
            linear::dense::forward(machine, shape, &w, Some(&b), &x, &mut y, Epilogue::Gate(&gate))
        });
        check_lengths("dense backward data", [weights, y, x, x], |lengths, p| {
            let [w, dy, mut dx, gate] = lengths.map(|len| zeros(len, p));
            linear::dense::backward_data(machine, shape, &w, &dy, &mut dx, Epilogue::Gate(&gate), true)
        });
        check_lengths("dense gradient", [x, y, weights], |lengths, p| {
            let [x, dy, mut g] = lengths.map(|len| zeros(len, p));
            linear::dense::gradient(machine, shape, &x, &dy, &mut g, true)
        });
        check_lengths("growth", [x, y], |lengths, p| {
            let [x, dy] = lengths.map(|len| zeros(len, p));
            linear::dense::growth(machine, shape, &x, &dy, &|_, _, _| {})
        });
        check_lengths("bias gradient", [y, outputs], |lengths, p| {
            let [dy, mut g] = lengths.map(|len| zeros(len, p));
            linear::dense::bias_gradient(machine, outputs, groups, &dy, &mut g, true)
        });
        check_lengths("loss", [y, y], |lengths, p| {
            let [z, mut dz] = lengths.map(|len| zeros(len, p));
            let labels = Buffer::new(&vec![0; samples], p);
            softmax_cross_entropy(machine, outputs, &z, &labels, 0.0, 1.0, Some(&mut dz)).map(drop)
        });
        let relu = Activation::Relu;
        check_lengths("relu", [100], |[x], p| activate(machine, relu, &zeros(x, p), &mut zeros(100, p)));
        check_lengths("relu backward", [100, 100], |lengths, p| {
            let [y, dy] = lengths.map(|len| zeros(len, p));
            activate_backward(machine, relu, &y, &dy, &mut zeros(100, p), false)
        });
        check_lengths("multiply", [100, 100], |lengths, p| {
            let [a, b] = lengths.map(|len| zeros(len, p));
            multiply(machine, &a, &b, &mut zeros(100, p), true)
        });
        for momentum in [0.0, 0.9, f32::NAN] {
            let constants = Sgd { learning_rate: 0.1, momentum, nesterov: true, l2: 0.0 };
            check_lengths("sgd", [100, if momentum == 0.0 { 0 } else { 100 }], |lengths, p| {
                let [gradient, mut m] = lengths.map(|len| zeros(len, p));
                sgd(machine, constants, &gradient, &mut zeros(100, p), &mut m)
            });
        }
        check_lengths("vectors", [inputs, samples, samples, x], |[image, scale, shift, map], p| {
            let images = [Buffer::new(&vec![1u8; inputs], p), Buffer::new(&vec![1u8; image], p)];
            let mut views = vec![&*images[0]; samples];
            views[samples - 1] = &images[1];
            pack_vectors(isa, &views, 1, &zeros(scale, p), &zeros(shift, p), &mut zeros(map, p))
        });
        for channels in [0, 2, 3, 8, 1000, usize::MAX] {
            let (images, zeros) = ([&[1u8; 7][..]; 3], vec![0.0; 3 * channels.min(1000)]);
            let mut map = [0.0; 7 * GROUP];
            assert!(pack_vectors(isa, &images, channels, &zeros, &zeros, &mut map).is_err(), "{channels}");
        }
        let map_shape = MapShape { channels: 3, rows: 2, columns: 5 };
        check_lengths("maps", [30, 54, 54, 2 * 30 * BLOCK], |[image, scale, shift, map], p| {
            let images = [Buffer::new(&[1u8; 30], p), Buffer::new(&vec![1u8; image], p)];
            let mut views = vec![&*images[0]; 18];
            views[17] = &images[1];
            pack_maps(isa, &views, map_shape, &zeros(scale, p), &zeros(shift, p), &mut zeros(map, p))
        });
        for channels in DIMENSIONS.into_iter().filter(|&n| n != 4) {
            for rows in [1, usize::MAX] {
                let shape = MapShape { channels, rows, columns: 1 };
                let zeros = [0.0; 4];
                let done = pack_maps(isa, &[&[1u8; 4][..]], shape, &zeros, &zeros, &mut [0.0; 4 * BLOCK]);
                assert!(done.is_err(), "{shape:?}");
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_their_slices_are_refused_whatever_overflows() {
    let machine = &Machine::new(Isa::detect(), 1);
    let stream = LinearStream::new(4, 5, &[0, 7, 19]).unwrap();
    // Slices of a layer of 4 × 5 on one group, or of one without anything.
    for is_empty in [false, true] {
        let place = GUARDED[0];
        let put = |len: usize| Buffer::new(&vec![1.0f32; if is_empty { 0 } else { len }], place);
        let (x, mut dx, y, mut dy) = (put(320), put(320), put(256), put(256));
        let (w, mut dw, b, mut db) = (put(20), put(20), put(4), put(4));
        let (v, mut dv) = (put(3), put(3));
        for groups in DIMENSIONS {
            let (fits, none) = (groups == 1 && !is_empty, Epilogue::None);
            let bias = Some(&*b);
            let done = linear::sparse::forward(machine, &stream, &v, bias, &x, &mut dy, groups, none);
            assert_eq!(done.is_ok(), fits, "{groups}");
            let done = linear::sparse::backward_data(machine, &stream, &v, &y, &mut dx, groups, none, false);
            assert_eq!(done.is_ok(), fits, "{groups}");
            let done = linear::sparse::gradient(machine, &stream, &x, &y, &mut dv, groups, false);
            assert_eq!(done.is_ok(), fits, "{groups}");
            for outputs in DIMENSIONS {
                // Of the slices without anything, the widths of maps decide whether they fit.
                let is = |found: Option<usize>, len: usize| found == Some(if is_empty { 0 } else { len });
                let fits_y = is(outputs.checked_mul(groups), 4);
                let done = linear::dense::bias_gradient(machine, outputs, groups, &y, &mut db, false);
                assert_eq!(done.is_ok(), fits_y && db.len() == outputs, "{outputs} {groups}");
                for inputs in DIMENSIONS {
                    let shape = LinearShape { outputs, inputs, groups };
                    let fits = fits_y && is(inputs.checked_mul(groups), 5);
                    let weighs = is(outputs.checked_mul(inputs), 20);
                    let done = linear::dense::forward(machine, shape, &w, None, &x, &mut dy, none);
                    assert_eq!(done.is_ok(), fits && weighs, "{shape:?}");
                    let done = linear::dense::backward_data(machine, shape, &w, &y, &mut dx, none, false);
                    assert_eq!(done.is_ok(), fits && weighs, "{shape:?}");
                    let done = linear::dense::gradient(machine, shape, &x, &y, &mut dw, false);
                    assert_eq!(done.is_ok(), fits && weighs, "{shape:?}");
                    // Zeros for every position are what growth gives on no samples: not worth waiting for here.
                    if outputs.saturating_mul(inputs) <= 1 << 20 || outputs.checked_mul(inputs).is_none() {
                        let done = linear::dense::growth(machine, shape, &x, &y, &|_, _, _| {});
                        let has_weights = outputs.checked_mul(inputs).is_some();
                        assert_eq!(done.is_ok(), fits && has_weights, "{shape:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn labels_out_of_range_and_classes_that_overflow_are_refused() {
    for isa in Isa::available() {
        let machine = &Machine::new(isa, 1);
        let call = |classes: usize, maps: usize, labels: &[u32], place| {
            let (z, mut dz) = (Buffer::new(&vec![1.0; maps], place), Buffer::new(&vec![1.0; maps], place));
            let labels = Buffer::new(labels, place);
            softmax_cross_entropy(machine, classes, &z, &labels, 0.1, 1.0, Some(&mut dz))
        };
        for place in GUARDED {
            for label in [3, 4, 64, u32::MAX - 1, u32::MAX] {
                for at in [0, 1, 63, 64, 69] {
                    let mut labels = [2; 70];
                    assert!(call(3, 3 * 2 * GROUP, &labels, place).is_ok());
                    labels[at] = label;
                    let refused = Err(Error::Index { position: at, found: label, limit: 3 });
                    assert_eq!(call(3, 3 * 2 * GROUP, &labels, place), refused);
                }
            }
            for classes in DIMENSIONS {
                assert_eq!(call(classes, 4 * GROUP, &[0, 3], place).is_ok(), classes == 4, "{classes}");
                assert_eq!(call(classes, 0, &[], place).map(|sums| sums.loss), Ok(0.0), "{classes}");
                assert!(call(classes, 0, &[0], place).is_err(), "{classes}");
            }
        }
    }
}

#[test]
fn lengths_of_maps_that_overflow_are_refused() {
    for features in DIMENSIONS {
        assert_eq!(groups(features), features / GROUP + usize::from(features % GROUP > 0));
        for groups in DIMENSIONS {
            let bytes = ((features as u128) * (groups as u128)).saturating_mul(256);
            let fits = bytes <= isize::MAX as u128;
            let len = map_len(features, groups);
            assert!(if fits { len == Ok((bytes / 4) as usize) } else { matches!(len, Err(Error::Shape(_))) });
        }
    }
}

#[test]
fn patterns_that_are_none_are_refused() {
    for place in GUARDED {
        let new = |outputs, inputs, indices: &[u32]| {
            LinearStream::new(outputs, inputs, &Buffer::new(indices, place)).map(|stream| stream.count())
        };
        let refused = |position, found, limit| Err(Error::Index { position, found, limit });
        assert_eq!(new(4, 5, &[0, 1, 19]), Ok(3));
        assert_eq!(new(4, 5, &[0, 1, 20]), refused(2, 20, 20));
        assert_eq!(new(4, 5, &[u32::MAX]), refused(0, u32::MAX, 20));
        assert_eq!(new(4, 5, &[0, 2, 1]), refused(2, 1, 20));
        assert_eq!(new(4, 5, &[0, 2, 2]), refused(2, 2, 20));
        assert_eq!(new(0, 5, &[0]), refused(0, 0, 0));
        assert_eq!(new(1, u32::MAX as usize - 1, &[u32::MAX]), refused(0, u32::MAX, u32::MAX as usize - 1));
        // As large as can be without memory for as many rows.
        let large = |n: usize| n > 1 << 20 && n <= u32::MAX as usize;
        for outputs in DIMENSIONS.into_iter().filter(|&n| !large(n)) {
            for inputs in DIMENSIONS.into_iter().filter(|&n| !large(n)) {
                let weights = outputs.checked_mul(inputs).filter(|&n| n <= u32::MAX as usize);
                let found = new(outputs, inputs, &[]);
                let fits = weights.is_some() && outputs.max(inputs) <= 1 << 20;
                assert!(if fits { found == Ok(0) } else { matches!(found, Err(Error::Shape(_))) });
                assert!(new(outputs, inputs, &[u32::MAX]).is_err());
            }
        }
    }
    let stream = LinearStream::new(4, 5, &[0, 7, 19]).unwrap();
    for wrong in [0, 2, 4, 20] {
        // Documented panics.
        assert!(std::panic::catch_unwind(|| stream.to_forward(&vec![0.0; wrong])).is_err());
        assert!(std::panic::catch_unwind(|| stream.to_sorted(&vec![0.0; wrong])).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_list_of_indices_is_refused_or_gives_kernels_that_stay_inside(
        outputs in 0usize..40,
        inputs in 0usize..40,
        samples in 1usize..70,
        mut indices in prop::collection::vec(prop_oneof![0u32..100, 0u32..1700, any::<u32>()], 0..60),
        mend in any::<bool>(),
    ) {
        let limit = (outputs * inputs) as u32;
        if mend {
            indices.retain(|&i| i < limit);
            indices.sort_unstable();
            indices.dedup();
        }
        let valid = indices.iter().all(|&i| i < limit) && indices.windows(2).all(|w| w[0] < w[1]);
        let stream = LinearStream::new(outputs, inputs, &Buffer::new(&indices, Place::EndsAtPage));
        prop_assert_eq!(stream.is_ok(), valid);
        if valid {
            let case = Case { indices, ..Case::new(outputs, inputs, samples, 0.0) };
            let machine = Machine::new(Isa::detect(), 1);
            let expected = results(&machine, &case, Place::Anywhere);
            same(&results(&machine, &case, Place::EndsAtPage), &expected, &|| "random indices".to_string());
        }
    }
}

#[test]
fn an_arena_lends_nothing_twice_and_nothing_outside() {
    const LEN: usize = 1024;
    let mut arena = Arena::new(LEN).unwrap();
    assert!(arena.len() == LEN && !arena.is_empty());
    let ends = [0, 1, 63, 64, LEN - 1, LEN, LEN + 1, isize::MAX as usize, usize::MAX];
    let ranges: Vec<_> = ends.iter().flat_map(|&start| ends.iter().map(move |&end| start..end)).collect();
    let fits = |r: &std::ops::Range<usize>| r.start <= r.end && r.end <= LEN;
    for a in &ranges {
        for b in &ranges {
            let apart = a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start;
            let lent = arena.borrow([a.clone()], [b.clone()]);
            assert_eq!(lent.is_ok(), fits(a) && fits(b) && apart, "{a:?} {b:?}");
            if let Ok(([a], [b])) = lent {
                b.fill(1.0);
                assert!(a.iter().all(|x| x.is_finite()));
            }
            assert_eq!(arena.borrow([], [a.clone(), b.clone()]).is_ok(), fits(a) && fits(b) && apart);
            assert_eq!(arena.borrow([a.clone(), b.clone()], []).is_ok(), fits(a) && fits(b));
        }
    }
    for len in DIMENSIONS {
        match Arena::new(len) {
            Ok(arena) => assert!(arena.len() == len && len <= 1 << 40),
            Err(e) => assert!(matches!(e, Error::Memory { .. }) && len >= u32::MAX as usize, "{len}"),
        }
    }
}

#[test]
fn instruction_sets_that_are_not_there_are_refused() {
    let long = "a".repeat(100_000);
    for name in ["", " avx2", "AVX2", "avx2\0", "portable\n", "größer", &long] {
        assert!(matches!(Isa::named(name), Err(Error::Isa { .. })), "{name}");
    }
    for isa in Isa::available() {
        assert_eq!(Isa::named(isa.name()), Ok(isa));
    }
    assert!(Isa::available().contains(&Isa::detect()));
}

#[test]
fn a_pool_has_at_least_one_thread_and_not_as_many_as_one_likes() {
    assert_eq!(Pool::new(0).threads(), 1);
    assert!((1..=1024).contains(&Pool::new(usize::MAX).threads()));
    assert_eq!(Machine::new(Isa::detect(), 0).pool.threads(), 1);
}

#[test]
fn a_task_may_give_work_to_its_own_pool() {
    for threads in [1, 2, 3] {
        let (pool, done) = (Pool::new(threads), AtomicUsize::new(0));
        let inner = |_: usize, _: usize| {
            done.fetch_add(1, Ordering::Relaxed);
        };
        let outer = |_: usize, _: usize| pool.run(5, &inner).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| pool.run(7, &outer).unwrap());
            }
        });
        assert_eq!(done.into_inner(), 2 * 7 * 5);
    }
}

/// Panics, and once more when what was thrown is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the second panic");
    }
}

#[test]
fn a_panic_in_the_callers_function_is_an_error_however_it_is_thrown() {
    // One case below the work that is worth threads, one above.
    for (outputs, inputs, samples) in [(3, 4, 1), (200, 300, 128)] {
        let case = Case::new(outputs, inputs, samples, 0.0);
        for threads in [1, 2, 3] {
            let machine = Machine::new(Isa::detect(), threads);
            let grow = |take: &(dyn Fn(usize, u32, &[f32]) + Sync)| {
                linear::dense::growth(&machine, case.shape(), &case.x, &case.dy, take)
            };
            for _ in 0..20 {
                let result = grow(&|_, first, _| assert!(first > 0, "it fell over"));
                assert_eq!(result, Err(Error::Panicked("it fell over".into())));
                let result = grow(&|_, _, _| std::panic::panic_any(Bomb));
                assert_eq!(result, Err(Error::Panicked("no message".into())));
                assert_eq!(grow(&|_, _, _| {}), Ok(()));
            }
        }
    }
}

#[test]
fn measures_are_numbers() {
    for isa in Isa::available() {
        assert!(measure::multiply_add_peak(isa) > 0.0);
    }
    assert!(measure::read_bandwidth(&Machine::new(Isa::detect(), 2)).unwrap() > 0.0);
}
