//! A trained network, made from its checkpoint alone: evaluated on sets of samples, asked about single ones.

use std::path::Path;
use std::sync::Arc;

use rigl_base::{Error, Result, math};
use rigl_data::Dataset;
use rigl_engine::{Batch, Options, Outcome, Packer, Preprocessing, Session};
use rigl_formats::{Checkpoint, Metadata, checkpoint};
use rigl_graph::Graph;
use rigl_graph::state;
use rigl_metrics::RunFolder;
use rigl_topology::Pattern;

use crate::config::Config;
use crate::evaluate::{Logits, evaluate, logits};
use crate::inputs::{Inputs, channels};
use crate::machine::MachineOptions;
use crate::memory;
use crate::origin::last_checkpoint;
use crate::registry::Registry;
use crate::settings::Settings;
use crate::taken;

/// A network with its trained weights, and how samples become its numbers.
pub struct Trained {
    session: Session,
    preprocessing: Preprocessing,
    settings: Settings,
    metadata: Metadata,
}

/// What a network says of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The most probable class, by its number; of equal ones the first.
    pub class: usize,
    /// What the network answers, one number for each class.
    pub logits: Vec<f32>,
    /// The probability of each class: the softmax of the logits.
    pub probabilities: Vec<f64>,
}

impl Trained {
    /// The network of a run as it is in its newest checkpoint, or in a checkpoint file.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if that checkpoint is damaged (an older one is not taken in its place), else
    /// as [`Trained::new`].
    pub fn open(path: impl AsRef<Path>, registry: &Registry, machine: &MachineOptions) -> Result<Trained> {
        let path = path.as_ref();
        if path.is_file() {
            return Trained::new(checkpoint::read(path)?, &path.display().to_string(), registry, machine);
        }
        let latest = last_checkpoint(&RunFolder::open(path)?)?;
        if let Some(damage) = latest.warnings().first() {
            return Err(Error::data(damage));
        }
        let (checkpoint, file) = latest.warned(drop);
        Trained::new(checkpoint, &file.display().to_string(), registry, machine)
    }

    /// The network in a checkpoint; `file` is the name of that in messages.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if the parts of the checkpoint contradict each other,
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if the machine has no memory or no such instruction set.
    pub fn new(
        checkpoint: Checkpoint,
        file: &str,
        registry: &Registry,
        machine: &MachineOptions,
    ) -> Result<Trained> {
        let context = |e: Error| e.context(format!("`{file}`"));
        let Checkpoint { metadata, state } = checkpoint;
        let config = Config::of_run(file, &metadata.configuration, &registry.known())?;
        let graph = Graph::parse(&metadata.graph).map_err(context)?;
        // Before memory is asked for by what the graph claims.
        state::check(&graph, &state).map_err(context)?;
        let settings = Settings::untrained(config, registry).map_err(context)?;
        let channels = channels(shape(&graph)?);
        let inputs = Inputs::recorded(settings.config(), channels, &metadata.preprocessing);
        let preprocessing = inputs.and_then(|inputs| inputs.preprocessing(channels)).map_err(context)?;
        let patterns = taken::patterns(&graph, &state).map_err(context)?;
        let classes = graph.classes().map_err(context)?;
        if metadata.classes.len() != classes {
            let found = metadata.classes.len();
            let error = Error::data(format!("names {found} classes, and its network tells {classes} apart"));
            return Err(context(error));
        }
        // Nothing is trained.
        let options = Options { batch: 0, ..settings.engine(machine, settings.seeds.init) };
        // The file holds what is active; how large maps are is a claim of its graph.
        let active: Vec<_> = patterns.iter().map(|p| p.as_ref().map(Pattern::count)).collect();
        memory::check_evaluation(&graph, &active, &options).map_err(context)?;
        let mut session = Session::new(&graph, patterns, &options)?;
        session.load(&state).map_err(context)?;
        Ok(Trained { session, preprocessing, settings, metadata })
    }

    /// The configuration that it was trained under.
    pub fn config(&self) -> &Config {
        self.settings.config()
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        self.session.graph()
    }

    /// Where its run stood, and what it was trained on: names of classes, preprocessing.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The shape of a sample: channels, rows, columns, or the number of its features.
    pub fn sample_shape(&self) -> &[usize] {
        shape(self.graph()).unwrap_or_default()
    }

    /// Loss and accuracy on all samples of `set`.
    ///
    /// # Errors
    /// Of reading the samples, or of the engine.
    pub fn evaluate(&mut self, set: &Arc<dyn Dataset>) -> Result<Outcome> {
        evaluate(&mut self.session, set, &self.preprocessing, self.settings.evaluation_batch())
    }

    /// The same, with what the network reads and answers.
    ///
    /// # Errors
    /// As [`Trained::evaluate`]; [`Kind::Environment`](rigl_base::Kind::Environment) if the numbers do not fit into memory.
    pub fn logits(&mut self, set: &Arc<dyn Dataset>) -> Result<Logits> {
        logits(&mut self.session, set, &self.preprocessing, self.settings.evaluation_batch())
    }

    /// What the network says of each of these images: bytes in the order of [`sample_shape`](Trained::sample_shape), as
    /// data sets hold them. What one image is told depends on no other.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if an image has another number of bytes, or the network was trained on
    /// numbers; [`Kind::Diverged`](rigl_base::Kind::Diverged) if an answer, or a number on the way to it, is not
    /// finite.
    pub fn predict(&mut self, images: &[&[u8]]) -> Result<Vec<Prediction>> {
        // The label decides the loss alone, which nobody asks for.
        self.predicted(images, |packer, images, batch| {
            packer.pack(images.iter().map(|&image| (image, 0)), batch)
        })
    }

    /// What the network says of each of these samples, whose numbers are as its data set holds them: they are standardised
    /// here as its training samples were. What one sample is told depends on no other.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if a sample has another number of numbers, one is not finite, or the network
    /// was trained on bytes; [`Kind::Diverged`](rigl_base::Kind::Diverged) if an answer is not finite.
    pub fn predict_numbers(&mut self, samples: &[&[f32]]) -> Result<Vec<Prediction>> {
        if let Some(at) = samples.iter().position(|sample| sample.iter().any(|x| !x.is_finite())) {
            return Err(Error::data(format!("sample {at} has a number that is not finite")));
        }
        self.predicted(samples, |packer, samples, batch| {
            packer.pack_numbers(samples.iter().map(|&sample| (sample, 0)), batch)
        })
    }

    fn predicted<S>(
        &mut self,
        samples: &[S],
        pack: impl Fn(&Packer, &[S], &mut Batch) -> Result<()>,
    ) -> Result<Vec<Prediction>> {
        let packer = self.session.packer(&self.preprocessing);
        let (mut batch, mut numbers) = (Batch::default(), Vec::new());
        for samples in samples.chunks(self.settings.evaluation_batch()) {
            pack(&packer, samples, &mut batch)?;
            self.session.evaluate(&batch, Some(&mut numbers))?;
            if let Some(place) = self.session.non_finite() {
                return Err(Error::diverged(format!("the network's answer is not finite, first {place}")));
            }
        }
        numbers.chunks(self.graph().classes()?.max(1)).map(Prediction::of).collect()
    }
}

impl Prediction {
    /// From the logits of one sample.
    fn of(logits: &[f32]) -> Result<Prediction> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::diverged("the network's answer is not finite"));
        }
        let (class, largest) =
            logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (class, &logit)| {
                if logit > best.1 { (class, logit) } else { best }
            });
        let mut probabilities: Vec<f64> =
            logits.iter().map(|&logit| math::exp(f64::from(logit) - f64::from(largest))).collect();
        let sum: f64 = probabilities.iter().sum();
        probabilities.iter_mut().for_each(|p| *p /= sum);
        Ok(Prediction { class, logits: logits.to_vec(), probabilities })
    }
}

/// The shape of a sample.
fn shape(graph: &Graph) -> Result<&[usize]> {
    let input = graph.inputs().next().ok_or_else(|| Error::data("the network has no input"))?;
    Ok(&graph.node(input).shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_the_softmax_and_the_class_is_the_first_of_the_largest() {
        let prediction = Prediction::of(&[0.0, 2.0f32.ln(), 2.0f32.ln(), f32::MIN]).unwrap();
        assert_eq!((prediction.class, &prediction.logits[..2]), (1, &[0.0, 2.0f32.ln()][..]));
        for (found, expected) in prediction.probabilities.iter().zip([0.2, 0.4, 0.4, 0.0]) {
            // ln 2 is rounded to 2⁻²⁴ of itself.
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
        assert_eq!(Prediction::of(&[f32::MAX, 0.0]).unwrap().probabilities, [1.0, 0.0]);
        assert!(Prediction::of(&[f32::NAN, 0.0]).is_err());
    }
}
