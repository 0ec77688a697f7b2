//! A compiled program: loaded, run, unloaded, and given other weights.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orion_compiler::target::Route;

use super::constants::Constants;
use super::engine::{Engine, Loaded, detail};
use super::identity::{identity, patched};
use super::image::{Compiled, Image};
use super::refusal::{Judge, Verdict, inference_failed, wrong_index};
use super::settings::Reload;
use crate::neural_engine::{
    Attributes, BlobFiles, CompiledProgram, DeviceError, Evaluation, Port, ProgramSource, Request,
    Surface,
};

/// Procedure numbers that a program with a single procedure takes (facts §2.3).
const SINGLE_PROCEDURE: usize = 16;

pub(super) struct SimulatedProgram {
    engine: Arc<Engine>,
    name: String,
    text: Arc<str>,
    identity: String,
    verdict: Verdict,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    image: Arc<Image>,
    /// Files that were written beside the program.
    overwritten: BlobFiles,
    /// Runs under way.
    runs: usize,
}

enum Phase {
    Compiled,
    /// Between two phases; another thread is at it.
    Changing,
    Loaded(Loaded),
}

impl fmt::Debug for SimulatedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedProgram({}, {})", self.name, self.identity)
    }
}

impl SimulatedProgram {
    pub(super) fn compile(
        engine: &Arc<Engine>,
        source: &ProgramSource<'_>,
    ) -> Result<Self, DeviceError> {
        let settings = engine.settings();
        let judge = Judge { program: source.name, text: source.text, target: settings.target };
        let document = judge.parse()?;
        engine.begin_compile(source.name)?;
        let verdict = judge.judge(&document, settings.disputed)?;
        let constants = Constants::new(source.blobs, None, engine.constants(), engine.pool());
        let image = Self::image(engine, &judge, constants)?;
        engine.stage(source.blobs.total_bytes());
        engine.end_compile(source.name)?;
        let identity = identity(source.text, source.blobs);
        Ok(Self::new(engine, source.name, source.text.into(), identity, verdict, image))
    }

    fn new(
        engine: &Arc<Engine>,
        name: &str,
        text: Arc<str>,
        identity: String,
        verdict: Verdict,
        image: Image,
    ) -> Self {
        let state = State {
            phase: Phase::Compiled,
            image: Arc::new(image),
            overwritten: BlobFiles::default(),
            runs: 0,
        };
        let (engine, name, state) = (Arc::clone(engine), name.to_owned(), Mutex::new(state));
        Self { engine, name, text, identity, verdict, state }
    }

    fn image(
        engine: &Engine,
        judge: &Judge<'_>,
        constants: Constants<'_>,
    ) -> Result<Image, DeviceError> {
        let document = judge.parse()?;
        let (target, layout) = (engine.target(), engine.settings().layout);
        Image::new(&document, target, layout, constants, &|function| engine.cost(function)).map_err(
            |diagnostic| match diagnostic.code {
                // The text may be right, and the simulator does not know how to run it.
                "MIL030" => judge.unsupported(&diagnostic),
                _ => judge.invalid(&diagnostic),
            },
        )
    }

    fn judge(&self) -> Judge<'_> {
        Judge { program: &self.name, text: &self.text, target: self.engine.settings().target }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> DeviceError {
        let reason = "another thread is loading, unloading or running it".to_owned();
        DeviceError::Busy(detail(&self.name, "RUN035", reason, None, "wait for it"))
    }

    fn not_loaded(&self) -> DeviceError {
        let reason = "the program is not loaded".to_owned();
        DeviceError::NotLoaded(detail(&self.name, "RUN034", reason, None, "load it first"))
    }

    /// The image that a load gives: the compiled one, or one of overwritten files.
    fn loaded_image(&self, overwritten: &BlobFiles) -> Result<Option<Image>, DeviceError> {
        if self.engine.settings().reload == Reload::Stale || overwritten.is_empty() {
            return Ok(None);
        }
        let donor = Arc::clone(&self.state().image);
        let (store, pool) = (self.engine.constants(), self.engine.pool());
        let constants = Constants::new(overwritten, Some(&donor.constants), store, pool);
        Self::image(&self.engine, &self.judge(), constants).map(Some)
    }

    /// The surface of every port, in the order of the text.
    fn bind<'r>(
        &self,
        kind: &str,
        ports: &'r [Port],
        places: &[usize],
        given: &'r [(usize, Surface)],
    ) -> Result<Vec<(&'r Port, &'r Surface)>, DeviceError> {
        let wrong = |reason: String| {
            let remedy = "bind each symbol of the procedure once";
            let native = Some(wrong_index());
            DeviceError::WrongIndex(detail(&self.name, "ANE050", reason, native, remedy))
        };
        let mut bound: Vec<Option<&Surface>> = vec![None; ports.len()];
        for (symbol, surface) in given {
            let Some(at) = ports.iter().position(|port| port.symbol == *symbol) else {
                return Err(wrong(format!("no {kind} of the procedure has symbol {symbol}")));
            };
            if bound[at].replace(surface).is_some() {
                return Err(wrong(format!("two surfaces for {kind} symbol {symbol}")));
            }
        }
        let failed = |rule: &str, place: &Port, reason: String, remedy: &str| {
            let mut detail = detail(&self.name, rule, reason, Some(inference_failed()), remedy);
            detail.place = Some(place.name.clone());
            DeviceError::Inference(detail)
        };
        let mut pairs = Vec::with_capacity(places.len());
        for &place in places {
            let port = &ports[place];
            let surface = bound[place].ok_or_else(|| {
                let reason = format!("no surface for {kind} symbol {}", port.symbol);
                failed("RUN037", port, reason, "bind each symbol of the procedure once")
            })?;
            if surface.size() < port.bytes {
                let reason = format!(
                    "a surface of {} bytes for {} channels of {} rows of {} bytes",
                    surface.size(),
                    port.planes(),
                    port.height,
                    port.bytes / (port.planes() * port.height).max(1),
                );
                let remedy = "allocate the bytes that the loaded program publishes";
                return Err(failed("ANE004", port, reason, remedy));
            }
            pairs.push((port, surface));
        }
        Ok(pairs)
    }

    /// The procedure that a number names.
    fn procedure<'i>(&self, image: &'i Image, number: usize) -> Result<&'i Compiled, DeviceError> {
        let is_single = image.procedures.len() == 1 && number < SINGLE_PROCEDURE;
        let found = image.procedures.get(if is_single { 0 } else { number });
        found.ok_or_else(|| {
            let reason =
                format!("procedure {number} of a program that has {}", image.procedures.len());
            let native = Some(wrong_index());
            let remedy = "name a function of the text, counted from 0";
            DeviceError::WrongIndex(detail(&self.name, "ANE050", reason, native, remedy))
        })
    }
}

impl CompiledProgram for SimulatedProgram {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn load(&self) -> Result<(), DeviceError> {
        let overwritten = {
            let mut state = self.state();
            match state.phase {
                Phase::Loaded(loaded) if self.engine.holds(loaded) => return Ok(()),
                Phase::Changing => return Err(self.busy()),
                Phase::Loaded(_) | Phase::Compiled => {}
            }
            state.phase = Phase::Changing;
            state.overwritten.clone()
        };
        let refused = self.verdict.load.clone().map_or(Ok(()), Err);
        let made = refused.and_then(|()| {
            let image = self.loaded_image(&overwritten)?;
            Ok((image, self.engine.load(&self.name)?))
        });
        let mut state = self.state();
        match made {
            Ok((image, loaded)) => {
                if let Some(image) = image {
                    state.image = Arc::new(image);
                }
                state.phase = Phase::Loaded(loaded);
                Ok(())
            }
            Err(error) => {
                state.phase = Phase::Compiled;
                Err(error)
            }
        }
    }

    fn unload(&self) -> Result<(), DeviceError> {
        let mut state = self.state();
        match state.phase {
            Phase::Changing => Err(self.busy()),
            Phase::Compiled => Ok(()),
            Phase::Loaded(_) if state.runs > 0 => Err(self.busy()),
            Phase::Loaded(loaded) => {
                self.engine.unload(loaded);
                state.phase = Phase::Compiled;
                Ok(())
            }
        }
    }

    fn attributes(&self) -> Result<Attributes, DeviceError> {
        let state = self.state();
        match state.phase {
            Phase::Loaded(loaded) if self.engine.holds(loaded) => Ok(state.image.attributes()),
            Phase::Changing => Err(self.busy()),
            _ => Err(self.not_loaded()),
        }
    }

    fn eval(&self, request: &Request) -> Result<Evaluation, DeviceError> {
        let (loaded, image) = {
            let mut state = self.state();
            let loaded = match state.phase {
                Phase::Loaded(loaded) => loaded,
                Phase::Changing => return Err(self.busy()),
                Phase::Compiled => return Err(self.not_loaded()),
            };
            state.runs += 1;
            (loaded, Arc::clone(&state.image))
        };
        let ended = Ended(self);
        self.engine.begin_eval(&self.name, loaded)?;
        let compiled = self.procedure(&image, request.procedure)?;
        let ports = &compiled.procedure;
        let inputs = self.bind("input", &ports.inputs, &compiled.inputs, &request.inputs)?;
        let outputs = self.bind("output", &ports.outputs, &compiled.outputs, &request.outputs)?;
        if let Some(error) = &self.verdict.run {
            return Err(error.clone());
        }
        self.engine.run(&self.name, compiled, &inputs, &outputs)?;
        drop(ended);
        Ok(Evaluation { modelled_seconds: compiled.modelled_seconds })
    }

    fn overwrite(&self, blobs: &BlobFiles) -> Result<(), DeviceError> {
        let mut state = self.state();
        let paths = state.image.constants.paths();
        if let Some((path, _)) = blobs.iter().find(|(path, _)| !paths.contains(path)) {
            let reason = format!("the program reads no file `{path}`");
            let remedy = "name a file as the text does";
            return Err(DeviceError::Weights(detail(&self.name, "RUN038", reason, None, remedy)));
        }
        self.engine.stage(blobs.total_bytes());
        state.overwritten.extend(blobs);
        Ok(())
    }

    fn patched(&self, blobs: &BlobFiles) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        let refuse = |rule: &str, reason: String, remedy: &str| {
            DeviceError::Weights(detail(&self.name, rule, reason, None, remedy))
        };
        let settings = self.engine.settings();
        if settings.target.route == Route::E5rt {
            let reason =
                "compiled files of the e5rt route cannot be given other constants".to_owned();
            return Err(refuse(
                "ANE013",
                reason,
                "use weights that are inputs, or the in-memory route",
            ));
        }
        let donor = Arc::clone(&self.state().image);
        let paths = donor.constants.paths();
        if let Some((path, _)) = blobs.iter().find(|(path, _)| !paths.contains(path)) {
            let reason = format!("the program reads no file `{path}`");
            return Err(refuse("RUN038", reason, "name a file as the text does"));
        }
        if paths.len() > 1 && !settings.patches_several_files {
            let reason =
                format!("the program has {} files; exchange was shown for one", paths.len());
            return Err(refuse(
                "ANE013",
                reason,
                "use a program for each file, or weights that are inputs",
            ));
        }
        let (store, pool) = (self.engine.constants(), self.engine.pool());
        let constants = Constants::new(blobs, Some(&donor.constants), store, pool);
        let image = Self::image(&self.engine, &self.judge(), constants)?;
        self.engine.stage(blobs.total_bytes());
        self.engine.count_patch();
        let identity = patched(&self.identity, blobs);
        let (text, verdict) = (Arc::clone(&self.text), self.verdict.clone());
        Ok(Box::new(Self::new(&self.engine, &self.name, text, identity, verdict, image)))
    }
}

/// Says that a run has ended, however it did.
struct Ended<'a>(&'a SimulatedProgram);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().runs -= 1;
    }
}

impl Drop for SimulatedProgram {
    fn drop(&mut self) {
        if let Phase::Loaded(loaded) = self.state().phase {
            self.engine.unload(loaded);
        }
    }
}
