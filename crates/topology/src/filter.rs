//! Which layers may be sparse: by kind, or by globs over their names.

use globset::{Glob, GlobSet};
use rigl_base::error::short;
use rigl_base::nearest::{most_alike, nearest};
use rigl_base::{Error, Result};

use crate::layer::{Layer, LayerKind};

/// Which layers a distribution makes sparse. The others stay dense.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LayerFilter {
    /// Linear, convolution and recurrent weights. Embeddings and depthwise convolutions stay dense, and in
    /// networks that have depthwise convolutions the first convolution does too.
    #[default]
    Default,
    /// Every weight.
    All,
    /// The layers whose names, without `.weight`, match one of these globs. `*` matches any characters.
    Globs(Vec<String>),
}

impl LayerFilter {
    /// The names of the filters that have one, for messages.
    pub const NAMES: [&'static str; 2] = ["default", "all"];

    /// The filter of that name.
    pub fn from_name(name: &str) -> Option<LayerFilter> {
        match name {
            "default" => Some(LayerFilter::Default),
            "all" => Some(LayerFilter::All),
            _ => None,
        }
    }

    /// Whether each layer may be sparse.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a glob that cannot be read or matches no layer.
    pub fn select(&self, layers: &[Layer]) -> Result<Vec<bool>> {
        match self {
            LayerFilter::Default => {
                let mobile = layers.iter().any(|layer| layer.kind() == LayerKind::Depthwise);
                let dense = |layer: &Layer| match layer.kind() {
                    LayerKind::Embedding | LayerKind::Depthwise => true,
                    LayerKind::Conv => mobile && layer.first(),
                    LayerKind::Linear | LayerKind::Recurrent => false,
                };
                Ok(layers.iter().map(|layer| !dense(layer)).collect())
            }
            LayerFilter::All => Ok(vec![true; layers.len()]),
            LayerFilter::Globs(globs) => {
                let mut selected = vec![false; layers.len()];
                for glob in globs {
                    for at in matches(glob, layers)? {
                        selected[at] = true;
                    }
                }
                Ok(selected)
            }
        }
    }
}

/// Whether `glob` can be read as one.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage), saying what is wrong with it.
pub fn check_glob(glob: &str) -> Result<()> {
    read(glob).map(|_| ())
}

/// The longest glob, in bytes: longer than any layer's name, and no trouble to read.
const LONGEST_GLOB: usize = 1000;

fn read(glob: &str) -> Result<GlobSet> {
    let wrong = |what: String| Error::usage(format!("glob `{}` is wrong: {what}", short(glob)));
    if glob.len() > LONGEST_GLOB {
        return Err(wrong(format!("{} bytes, at most {LONGEST_GLOB} are read", glob.len())));
    }
    // A set of one: a single glob panics if it is nested too deep to be compiled, a set says so.
    Glob::new(glob)
        .and_then(|glob| GlobSet::builder().add(glob).build())
        .map_err(|e| wrong(short(&e.kind().to_string())))
}

/// What other programs call kinds of layers.
const KINDS: &[&str] =
    &["conv1d", "conv2d", "conv3d", "batchnorm", "linear", "dense", "embedding", "lstm", "gru", "nn."];

/// The layers whose short names match `glob`, at least one.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) for a glob that cannot be read or matches no layer; the hint holds
/// the nearest names.
pub(crate) fn matches(glob: &str, layers: &[Layer]) -> Result<Vec<usize>> {
    let matcher = read(glob)?;
    let glob = short(glob);
    let found: Vec<usize> =
        (0..layers.len()).filter(|&at| matcher.is_match(layers[at].short_name())).collect();
    if found.is_empty() {
        let names = || layers.iter().map(Layer::short_name);
        if layers.is_empty() {
            return Err(Error::usage(format!(
                "no layer matches `{glob}`: the network has none that can be sparse"
            )));
        }
        let list = most_alike(&glob, names(), 3).join("`, `");
        let error = Error::usage(format!("no layer matches `{glob}`, nearest are `{list}`"));
        let kind = KINDS.iter().any(|kind| glob.to_lowercase().trim_matches('*').starts_with(kind));
        return Err(match nearest(&glob, names()) {
            Some(best) => error.hint(best),
            None if kind => {
                error.hint("layers go by their names, not by what they are; `rigl flops` lists them")
            }
            None => error,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<Layer> {
        [
            ("conv1.weight", LayerKind::Conv),
            ("layer1.0.conv1.weight", LayerKind::Conv),
            ("layer1.10.conv1.weight", LayerKind::Conv),
            ("gru.weight_hh_l0", LayerKind::Recurrent),
            ("embedding.weight", LayerKind::Embedding),
            ("fc.weight", LayerKind::Linear),
        ]
        .into_iter()
        .enumerate()
        .map(|(i, (name, kind))| Layer::new(name, &[4, 4], kind, i == 0).unwrap())
        .collect()
    }

    fn selected(filter: &LayerFilter, layers: &[Layer]) -> Vec<String> {
        let selected = filter.select(layers).unwrap();
        layers.iter().zip(selected).filter(|(_, on)| *on).map(|(l, _)| l.short_name().to_string()).collect()
    }

    #[test]
    fn embeddings_stay_dense_by_default_and_the_first_convolution_does_not() {
        assert_eq!(
            selected(&LayerFilter::Default, &layers()),
            ["conv1", "layer1.0.conv1", "layer1.10.conv1", "gru.weight_hh_l0", "fc"]
        );
        assert_eq!(selected(&LayerFilter::All, &layers()).len(), 6);
    }

    #[test]
    fn with_depthwise_convolutions_these_and_the_first_one_stay_dense() {
        let mut layers = layers();
        layers.push(Layer::new("dw.weight", &[4, 1, 3, 3], LayerKind::Depthwise, false).unwrap());
        let names = selected(&LayerFilter::Default, &layers);
        assert_eq!(names, ["layer1.0.conv1", "layer1.10.conv1", "gru.weight_hh_l0", "fc"]);
    }

    #[test]
    fn globs_match_names_without_the_suffix() {
        let globs = |list: &[&str]| LayerFilter::Globs(list.iter().map(|g| g.to_string()).collect());
        assert_eq!(selected(&globs(&["layer1.?.*", "fc"]), &layers()), ["layer1.0.conv1", "fc"]);
        assert_eq!(selected(&globs(&["*.conv1"]), &layers()), ["layer1.0.conv1", "layer1.10.conv1"]);
        assert_eq!(selected(&globs(&[]), &layers()), [""; 0]);
    }

    #[test]
    fn a_glob_that_matches_nothing_names_the_nearest_layers() {
        let error = LayerFilter::Globs(vec!["layer1.0.conv".into()]).select(&layers()[..2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no layer matches `layer1.0.conv`, nearest are `layer1.0.conv1`, `conv1`"
        );
        let error = LayerFilter::Globs(vec!["conv[".into()]).select(&layers()).unwrap_err();
        assert!(error.to_string().starts_with("glob `conv[` is wrong: "), "{error}");
        assert!(LayerFilter::All.select(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_glob_that_cannot_be_compiled_is_refused() {
        for deep in [10, 400] {
            let glob = format!("{}fc{}", "{".repeat(deep), "}".repeat(deep));
            let found = LayerFilter::Globs(vec![glob.clone()]).select(&layers());
            assert_eq!(found.is_ok(), deep == 10, "{deep}");
            assert_eq!(check_glob(&glob).is_ok(), deep == 10, "{deep}");
        }
        for long in ["?", "[a-z]", "{a,b}", "x"] {
            let error = check_glob(&long.repeat(100_000)).unwrap_err();
            assert!(error.to_string().contains("bytes, at most 1000 are read"), "{error}");
        }
    }

    #[test]
    fn messages_about_a_glob_are_a_line_whatever_it_is() {
        for glob in ["a\nb\u{7f}", "[\u{2}-\u{1}]", &"x".repeat(100_000), &"x".repeat(1000)] {
            let error = LayerFilter::Globs(vec![glob.into()]).select(&layers()).unwrap_err().to_string();
            assert!(error.len() < 300 && !error.contains(char::is_control), "{error:?}");
        }
    }
}
