//! The program cache: what hits, what misses, and that nothing in its folder can make numbers wrong.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use orion_compiler::partition::Cut;
use orion_compiler::target::{Chip, Route};
use orion_compiler::{Builder, DType, Program, TensorType, Verified, verify};
use orion_runtime::neural_engine::simulator::{Numerics, Simulator};
use orion_runtime::neural_engine::{CacheCounters, EngineOptions, NeuralEngine, ProgramCache};
use orion_runtime::weights::{Arrangement, MemoryWeights, WeightSet, WeightSource, safetensors};
use orion_runtime::{Backend, TensorView, TensorViewMut, Widths};
use tempfile::TempDir;

use crate::fixture::{noise, settings};

const WIDTH: usize = 64;
const TOKENS: usize = 16;

/// A folder with a file of weights and, beside it, a cache.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::new().unwrap() };
        place.write("weights", 1);
        place
    }

    /// Writes weights and makes the file look settled.
    fn write(&self, name: &str, seed: u64) {
        fs::write(self.path(name), weight_file(seed)).unwrap();
        let hour_ago = SystemTime::now() - Duration::from_hours(1);
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(hour_ago).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cache(&self) -> ProgramCache {
        ProgramCache::new(self.path("cache"), ProgramCache::LIMIT)
    }

    /// Every file of the cache but the lock.
    fn files(&self) -> Vec<PathBuf> {
        let below = |name: &str| fs::read_dir(self.path("cache").join(name)).into_iter().flatten();
        let mut files: Vec<PathBuf> =
            below("blobs").chain(below("entries")).map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn bytes(&self) -> u64 {
        self.files().iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }
}

/// Two matrices in f32.
fn weight_file(seed: u64) -> Vec<u8> {
    let bytes = WIDTH * WIDTH * 4;
    let tensor = |name: &str, at: usize| {
        format!(
            "\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{WIDTH},{WIDTH}],\"data_offsets\":[{at},{}]}}",
            at + bytes
        )
    };
    let head = format!("{{{},{}}}", tensor("up", 0), tensor("down", bytes));
    let numbers = noise(2 * WIDTH * WIDTH, seed);
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend(head.as_bytes());
    file.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    file
}

fn bound(source: &Arc<dyn WeightSource>) -> Arc<WeightSet> {
    let mut set = WeightSet::new(Arc::clone(source));
    for entry in source.entries() {
        set.bind(&entry.name, entry, Arrangement::AsStored, None);
    }
    Arc::new(set)
}

fn opened(file: &Path) -> Arc<dyn WeightSource> {
    Arc::new(safetensors::open(file).unwrap())
}

/// `down · tanh(up · x)`.
fn program(tokens: usize) -> Verified<Program> {
    let b = Builder::new("mlp");
    let x = b.input("x", TensorType::new(DType::F32, [1, tokens, WIDTH]));
    let weight = |name: &str| b.weight(name, TensorType::new(DType::F32, [WIDTH, WIDTH]));
    let up = b.tanh(b.linear(x, weight("up"), None));
    b.output("y", b.linear(up, weight("down"), None));
    verify(b.finish().unwrap()).unwrap()
}

#[derive(Clone, Copy)]
struct Run {
    chip: Chip,
    route: Route,
    tokens: usize,
}

const RUN: Run = Run { chip: Chip::M4, route: Route::InMemory, tokens: TOKENS };

/// Bits of a run's results: a process of its own, so to speak.
fn bits(weights: Arc<WeightSet>, cache: Option<&Arc<ProgramCache>>, run: Run) -> Vec<u32> {
    let device = Simulator::new(settings(run.chip, run.route, Numerics::Exact));
    let options = EngineOptions {
        cut: Some(Cut::Whole),
        widths: Widths::Any,
        threads: 1,
        cache: cache.cloned(),
        ..EngineOptions::default()
    };
    let engine = NeuralEngine::new(Arc::new(device), options);
    let executable = engine.load(weights).unwrap();
    let id = executable.add(&program(run.tokens)).unwrap();
    let x = noise(run.tokens * WIDTH, 7);
    let mut y = vec![0.0; run.tokens * WIDTH];
    let (inputs, outputs) = ([TensorView::F32(&x)], &mut [TensorViewMut::F32(&mut y)]);
    executable.session().run(id, &inputs, outputs).unwrap();
    y.into_iter().map(f32::to_bits).collect()
}

/// A run with a cache that knows nothing of earlier ones, on a file of weights.
fn with(file: &Path, cache: ProgramCache, run: Run) -> (Vec<u32>, CacheCounters, Option<String>) {
    let cache = Arc::new(cache);
    let weights = bound(&opened(file));
    let found = bits(weights, Some(&cache), run);
    (found, cache.counters(), cache.obstacle())
}

/// The same without a cache.
fn without(file: &Path, run: Run) -> Vec<u32> {
    bits(bound(&opened(file)), None, run)
}

#[test]
fn a_second_run_takes_constants_from_the_cache_and_gives_the_same_bits() {
    let place = Place::new();
    let file = place.path("weights");
    let expected = without(&file, RUN);
    let (first, counters, obstacle) = with(&file, place.cache(), RUN);
    assert_eq!((counters.hits, counters.misses, obstacle), (0, 1, None));
    // Two matrices of f16 with their descriptors.
    assert!(counters.bytes_written > 2 * 2 * (WIDTH * WIDTH) as u64, "{counters:?}");
    let (second, counters, _) = with(&file, place.cache(), RUN);
    assert_eq!((counters.hits, counters.misses, counters.bytes_written), (1, 0, 0));
    assert!(counters.bytes_read > 2 * 2 * (WIDTH * WIDTH) as u64, "{counters:?}");
    assert_eq!(first, expected);
    assert_eq!(second, expected);
}

#[test]
fn other_weights_chips_routes_and_texts_miss() {
    let place = Place::new();
    let file = place.path("weights");
    with(&file, place.cache(), RUN);
    place.write("others", 2);
    for (name, other) in [
        ("others", RUN),
        ("weights", Run { chip: Chip::M1, ..RUN }),
        ("weights", Run { route: Route::E5rt, ..RUN }),
        ("weights", Run { tokens: 2 * TOKENS, ..RUN }),
    ] {
        let path = place.path(name);
        let (found, counters, _) = with(&path, place.cache(), other);
        assert_eq!((counters.hits, counters.misses), (0, 1), "{name}");
        assert_eq!(found, without(&path, other), "{name}");
        let (found, counters, _) = with(&path, place.cache(), other);
        assert_eq!((counters.hits, counters.misses), (1, 0), "{name}");
        assert_eq!(found, without(&path, other), "{name}");
    }
    // Other numbers in the same file, of the same length, with its time of change set back.
    place.write("weights", 3);
    let (found, counters, _) = with(&file, place.cache(), RUN);
    assert_eq!((counters.hits, counters.misses), (0, 1));
    assert_eq!(found, without(&file, RUN));
}

#[test]
fn weights_in_memory_and_files_that_have_just_changed_are_not_kept() {
    let place = Place::new();
    fs::write(place.path("fresh"), weight_file(1)).unwrap();
    let (_, counters, _) = with(&place.path("fresh"), place.cache(), RUN);
    assert_eq!(counters, CacheCounters::default());
    let mut memory = MemoryWeights::default();
    for (name, seed) in [("up", 1), ("down", 2)] {
        memory.insert_f32(name, &[WIDTH, WIDTH], &noise(WIDTH * WIDTH, seed)).unwrap();
    }
    let memory: Arc<dyn WeightSource> = Arc::new(memory);
    let cache = Arc::new(place.cache());
    bits(bound(&memory), Some(&cache), RUN);
    assert_eq!(cache.counters(), CacheCounters::default());
    assert!(!place.path("cache").exists());
}

#[test]
fn damage_is_noticed_deleted_and_made_anew() {
    let damages: [(&str, fn(&Path)); 6] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| fs::write(path, b"").unwrap()),
        ("cut off", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("a bit flipped", |path| {
            let mut bytes = fs::read(path).unwrap();
            let at = bytes.len() * 2 / 3;
            bytes[at] ^= 4;
            fs::write(path, bytes).unwrap();
        }),
        ("foreign", |path| fs::write(path, b"no entry and no blob\n{}").unwrap()),
        ("a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    let place = Place::new();
    let file = place.path("weights");
    let expected = without(&file, RUN);
    with(&file, place.cache(), RUN);
    let files = place.files();
    assert_eq!(files.len(), 3, "two blobs and an entry: {files:?}");
    for (what, damage) in damages {
        for path in &files {
            damage(path);
            let (found, counters, _) = with(&file, place.cache(), RUN);
            assert_eq!((counters.hits, counters.misses), (0, 1), "{what}: {path:?}");
            assert_eq!(counters.damaged, u64::from(what != "deleted"), "{what}: {path:?}");
            assert_eq!(found, expected, "{what}: {path:?}");
            if what == "a folder" {
                // What is no file of the cache is left to its owner.
                fs::remove_dir(path).unwrap();
                with(&file, place.cache(), RUN);
            }
            let (found, counters, _) = with(&file, place.cache(), RUN);
            assert_eq!((counters.hits, counters.misses), (1, 0), "{what}: {path:?}");
            assert_eq!(found, expected, "{what}: {path:?}");
        }
    }
}

#[test]
fn one_entry_under_the_name_of_another_is_not_used() {
    let place = Place::new();
    let file = place.path("weights");
    with(&file, place.cache(), RUN);
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
    let of_first = place.files().into_iter().find(is_entry).unwrap();
    place.write("others", 2);
    let others = place.path("others");
    with(&others, place.cache(), RUN);
    let mut entries = place.files().into_iter().filter(is_entry);
    let of_second = entries.find(|path| *path != of_first).unwrap();
    // Text and files' names are the same; only the key tells them apart.
    fs::copy(&of_first, &of_second).unwrap();
    let (found, counters, _) = with(&others, place.cache(), RUN);
    assert_eq!((counters.hits, counters.damaged), (0, 1));
    assert_eq!(found, without(&others, RUN));
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_but_a_remark() {
    let place = Place::new();
    let file = place.path("weights");
    fs::write(place.path("cache"), b"a file where the folder should be").unwrap();
    let (found, counters, obstacle) = with(&file, place.cache(), RUN);
    assert_eq!(found, without(&file, RUN));
    assert_eq!((counters.misses, counters.bytes_written), (1, 0));
    let obstacle = obstacle.unwrap();
    assert!(obstacle.contains("cannot be written"), "{obstacle}");
    assert!(obstacle.contains(&place.path("cache").display().to_string()), "{obstacle}");
}

#[test]
fn many_may_fill_and_empty_one_cache_at_the_same_time() {
    let place = Place::new();
    let seeds: Vec<u64> = (1..=3).collect();
    let mut expected = Vec::new();
    for seed in &seeds {
        let name = format!("weights{seed}");
        place.write(&name, *seed);
        expected.push(without(&place.path(&name), RUN));
    }
    // Room for two of three, so that entries also go while others read them.
    with(&place.path("weights1"), place.cache(), RUN);
    let limit = 2 * place.bytes() + place.bytes() / 2;
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (place, expected) = (&place, &expected);
            scope.spawn(move || {
                for round in 0..6 {
                    let at = (start + round) % expected.len();
                    let file = place.path(&format!("weights{}", at + 1));
                    let cache = ProgramCache::new(place.path("cache"), limit);
                    let (found, _, obstacle) = with(&file, cache, RUN);
                    assert_eq!(found, expected[at]);
                    assert_eq!(obstacle, None);
                }
            });
        }
    });
    // Who comes after them evicts what they could not.
    let file = place.path("weights2");
    let cache = || ProgramCache::new(place.path("cache"), limit);
    with(&file, cache(), Run { chip: Chip::M2, ..RUN });
    assert!(place.bytes() <= limit);
    let temporary = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    assert!(!place.files().iter().any(temporary), "{:?}", place.files());
}

#[test]
fn what_was_not_used_for_longest_is_evicted() {
    let place = Place::new();
    let path = |seed: u64| place.path(&format!("weights{seed}"));
    (1..=3).for_each(|seed| place.write(&format!("weights{seed}"), seed));
    with(&path(1), place.cache(), RUN);
    let one = place.bytes();
    fs::write(place.path("cache").join("blobs").join("mine.txt"), vec![0; 4 * WIDTH * WIDTH])
        .unwrap();
    let limit = 2 * one + one / 2;
    let run = |seed: u64| {
        // Times of change have steps of a few milliseconds.
        std::thread::sleep(Duration::from_millis(20));
        let (found, counters, _) =
            with(&path(seed), ProgramCache::new(place.path("cache"), limit), RUN);
        assert_eq!(found, without(&path(seed), RUN));
        (counters.hits, counters.misses, counters.evictions)
    };
    assert_eq!(run(2), (0, 1, 0));
    assert_eq!(run(1), (1, 0, 0));
    assert_eq!(run(3), (0, 1, 1), "the second goes");
    assert_eq!(run(1), (1, 0, 0));
    assert_eq!(run(2), (0, 1, 1), "the third goes");
    assert_eq!(run(1), (1, 0, 0));
    assert!(place.path("cache").join("blobs").join("mine.txt").exists());
    // An entry that is larger than the cache is not written at all.
    let (_, counters, _) = with(&path(3), ProgramCache::new(place.path("small"), one / 2), RUN);
    assert_eq!((counters.misses, counters.bytes_written), (1, 0));
    assert!(!place.path("small").exists());
}
