//! Saving a checkpoint with a failure at each of its disk operations. A file of its own, since the hook for
//! failures belongs to the whole process.

use rigl_base::files::fault::{self, Fault};
use rigl_formats::{Metadata, Store};
use rigl_graph::state::{Role, Tensor, Values};

fn state(step: u64) -> Vec<Tensor<'static>> {
    let values = Values::F32(vec![step as f32; 100].into());
    vec![Tensor { name: "w".into(), role: Role::Parameter, shape: vec![100], values, indices: None }]
}

fn metadata(step: u64) -> Metadata {
    Metadata { step, draw: step, ..Metadata::default() }
}

#[test]
fn a_save_that_fails_anywhere_leaves_the_old_or_the_new_checkpoint_and_can_be_repeated() {
    for fault in [Fault::Fail, Fault::Tear] {
        for k in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::new(folder.path());
            for step in [1, 2] {
                store.save(&state(step), &metadata(step)).unwrap();
            }
            let before = fault::operations();
            fault::arm(k, fault);
            let result = store.save(&state(3), &metadata(3));
            if fault::operations() - before < k {
                // Every operation of a save has met its failure.
                fault::arm(u64::MAX, fault);
                assert!(k > 5, "a save has only {k} operations");
                result.unwrap();
                break;
            }
            assert!(result.is_err(), "operation {k}");
            let latest = store.latest().unwrap();
            let step = latest.checkpoint().metadata.step;
            assert!([2, 3].contains(&step) && latest.warnings().is_empty(), "operation {k}: {latest:?}");
            assert_eq!(latest.checkpoint().state, state(step));
            store.save(&state(3), &metadata(3)).unwrap();
            assert_eq!(store.list().unwrap().iter().map(|(at, _)| at.step).collect::<Vec<_>>(), [2, 3]);
        }
    }
}
