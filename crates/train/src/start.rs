//! How a run's session begins: initial values under the first patterns, what is taken over from another run, or the
//! state of a checkpoint.

use rigl_base::{Error, Result};
use rigl_engine::Session;
use rigl_formats::Latest;
use rigl_graph::state::{Role, State};
use rigl_topology::Pattern;

use crate::config::StartValues;
use crate::design::Design;
use crate::machine::MachineOptions;
use crate::origin::{BeganWith, Finished, Origin};
use crate::taken::{self, Found};
use crate::weights;

/// What a session begins with.
pub(crate) enum Start {
    /// Initial values, under the design's patterns.
    Fresh,
    /// What is taken over from another run.
    Taken(Taken),
    /// The state of a checkpoint.
    Resumed(Box<Latest>),
}

/// What a run takes over from another.
pub(crate) struct Taken {
    /// The pattern of each parameter of the graph; `None` for dense.
    patterns: Vec<Option<Pattern>>,
    /// Seed of the initial values; where values are taken over, of those that are not there.
    seed: u64,
    /// Values and running statistics, where they are taken over.
    state: Option<State<'static>>,
}

/// What a run's position starts from, once its session is made.
pub(crate) enum Beginning {
    /// It begins; of one that starts from another run, with which values.
    Anew(Option<BeganWith>),
    /// It goes on from a checkpoint.
    Resumed(Box<Latest>),
}

impl Start {
    /// What a design needs of its origin.
    ///
    /// # Errors
    /// If another run's state contradicts itself.
    pub(crate) fn new(design: &Design, origin: Origin) -> Result<Start> {
        Ok(match origin {
            Origin::Fresh | Origin::Settled => Start::Fresh,
            Origin::Run(run) => {
                let from = run.from.clone();
                Start::Taken(Taken::new(design, run).map_err(|error| from.context(error))?)
            }
            Origin::Resumed(latest) => Start::Resumed(latest),
        })
    }

    /// A session at its beginning. Patterns that are chosen by scores are not there yet: [`Design::choose`].
    ///
    /// # Errors
    /// If the machine has no memory or no such instruction set, or a checkpoint does not fit the network.
    pub(crate) fn session(self, design: &Design, machine: &MachineOptions) -> Result<(Session, Beginning)> {
        let settings = design.settings();
        let made = |patterns, seed| Session::new(design.graph(), patterns, &settings.engine(machine, seed));
        match self {
            Start::Fresh => Ok((made(design.patterns()?, settings.seeds.init)?, Beginning::Anew(None))),
            Start::Taken(taken) => {
                let seeded = BeganWith::Seed(taken.seed);
                let began_with = taken.state.as_ref().map_or(seeded, |_| BeganWith::Trained);
                let mut session = made(taken.patterns, taken.seed)?;
                if let Some(state) = &taken.state {
                    session.load(state)?;
                }
                let sparse: Vec<usize> = design.layers().iter().map(|layer| layer.parameter).collect();
                weights::keep(&mut session, &sparse, &settings.method().slots(), taken.seed)?;
                Ok((session, Beginning::Anew(Some(began_with))))
            }
            Start::Resumed(latest) => {
                let state = &latest.checkpoint().state;
                let session = taken::patterns(design.graph(), state).and_then(|patterns| {
                    let mut session = made(patterns, settings.seeds.init)?;
                    session.load(state)?;
                    Ok(session)
                });
                let of_file = |e: Error| e.context(format!("checkpoint `{}`", latest.path().display()));
                Ok((session.map_err(of_file)?, Beginning::Resumed(latest)))
            }
        }
    }
}

impl Design {
    /// A session for this design and the origin it was made with. First patterns that are chosen by scores are not there
    /// yet.
    ///
    /// # Errors
    /// If the machine has no memory or no such instruction set, or the origin does not fit.
    pub fn session(&self, origin: Origin, machine: &MachineOptions) -> Result<Session> {
        Ok(Start::new(self, origin)?.session(self, machine)?.0)
    }
}

impl Taken {
    fn new(design: &Design, Finished { from, state, seed, .. }: Finished) -> Result<Taken> {
        let mut patterns = Vec::new();
        let mut taken: State<'static> = Vec::new();
        let mut layers = design.layers().iter().peekable();
        for (number, parameter) in design.graph().parameters().iter().enumerate() {
            let found = Found::of(parameter, &state)?;
            let pattern = match layers.next_if(|layer| layer.parameter == number) {
                Some(layer) => Some(found.pattern(parameter, layer.now)?),
                None => None,
            };
            taken.push(found.under(parameter, pattern.as_ref()));
            if pattern.is_some() && design.method().keeps_inactive() {
                taken.push(found.kept(parameter, &state));
            }
            patterns.push(pattern);
        }
        taken.extend(state.into_iter().filter(|tensor| tensor.role == Role::Buffer));
        let state = (from.values == StartValues::Trained).then_some(taken);
        Ok(Taken { patterns, seed, state })
    }
}
