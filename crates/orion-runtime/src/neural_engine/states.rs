//! States of a session: caches that grow with every run, and by their rows, for who hands them to another device: a cache `[1, tokens, heads, head_dim]` lies on the
//! engine in parts `[heads, part, tokens]`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use orion_compiler::ValueId;

use super::Port;
use super::pieces::{span, staging};
use super::plan::{Cache, EnginePlan, Step};
use super::session::{CacheState, EngineSession, Held, failed};
use crate::backend::RunError;

impl EngineSession {
    /// Makes the surfaces of caches, and clears columns that a text which was cut back has left behind.
    pub(super) fn provide_caches(
        &mut self,
        plan: &EnginePlan,
        position: usize,
    ) -> Result<(), RunError> {
        for cache in &plan.caches {
            let Some(port) = port_of(plan, cache.columns) else { continue };
            if !self.caches.contains_key(&cache.part.input) {
                let surface = self.device.surface(port.bytes).map_err(failed)?;
                let span = span(self.recorder.as_ref(), "stage", || format!("clear {}", port.name));
                let _span = span.map(|span| span.with("bytes", surface.size()));
                surface.clear();
                let state = CacheState { surface, written: 0 };
                self.caches.insert(cache.part.input.clone(), state);
            }
            let Some(state) = self.caches.get_mut(&cache.part.input) else { continue };
            if state.written > position {
                let region = port.columns(position.min(port.width)..state.written.min(port.width));
                let _span = staging(self.recorder.as_ref(), port, region.elements(), || {
                    format!("clear {}", port.name)
                });
                let zeros = vec![0.0; region.elements()];
                state.surface.write_region_f32(port, &region, &zeros).map_err(failed)?;
                state.written = position;
            }
        }
        Ok(())
    }

    /// Copies the columns of new tokens that are meant behind those of the cache.
    pub(super) fn append(
        &mut self,
        plan: &EnginePlan,
        values: &BTreeMap<ValueId, Held>,
        position: usize,
        meant: usize,
    ) -> Result<(), RunError> {
        for cache in &plan.caches {
            let Some(port) = port_of(plan, cache.columns) else { continue };
            let new = values.get(&cache.new).and_then(|held| held.surface.as_ref());
            let (Some((from, layout)), Some(state)) = (new, self.caches.get_mut(&cache.part.input))
            else {
                continue;
            };
            let count = layout.width.min(meant).min(port.width.saturating_sub(position));
            let region = layout.columns(0..count);
            let mut span = staging(self.recorder.as_ref(), layout, region.elements(), || {
                format!("append to {}", port.name)
            });
            if let Some(span) = &mut span {
                span.count("bytes", port.staged(region.elements()));
            }
            let mut columns = vec![0.0; region.elements()];
            from.read_region_f32(layout, &region, &mut columns).map_err(failed)?;
            let place = port.columns(position..position + count);
            state.surface.write_region_f32(port, &place, &columns).map_err(failed)?;
            state.written = position + count;
        }
        Ok(())
    }

    /// Reads rows of a state out of the caches that are its parts.
    pub(super) fn state_to_host(
        &self,
        name: &str,
        rows: Range<usize>,
        into: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        let plans = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        let parts = parts_of_state(&plans, name);
        into.clear();
        let mut columns = Vec::new();
        for (cache, port, head_dim) in parts {
            let Some(state) = self.caches.get(&cache.part.input) else {
                return Err(RunError::NoState { name: name.to_owned() });
            };
            let region = port.columns(rows.clone());
            columns.resize(region.elements(), 0.0);
            state.surface.read_region_f32(port, &region, &mut columns).map_err(failed)?;
            let (first, end) = cache.part.rows;
            let heads = columns.len() / (rows.len() * (end - first)).max(1);
            into.resize(rows.len() * heads * head_dim, 0.0);
            // [heads, part, tokens] becomes part of [tokens, heads, head_dim].
            for (at, &x) in columns.iter().enumerate() {
                let (row, token) = (at / rows.len(), at % rows.len());
                let (head, element) = (row / (end - first), first + row % (end - first));
                if let Some(to) = into.get_mut((token * heads + head) * head_dim + element) {
                    *to = x;
                }
            }
        }
        if into.is_empty() {
            return Err(RunError::NoState { name: name.to_owned() });
        }
        Ok(())
    }

    /// Writes rows of a state into the caches that are its parts.
    pub(super) fn state_from_host(
        &mut self,
        name: &str,
        first: usize,
        rows: &[f32],
    ) -> Result<(), RunError> {
        let plans = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        let mut written = false;
        for (cache, port, head_dim) in parts_of_state(&plans, name) {
            let state = match self.caches.entry(cache.part.input.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => {
                    let surface = self.device.surface(port.bytes).map_err(failed)?;
                    surface.clear();
                    free.insert(CacheState { surface, written: 0 })
                }
            };
            let (start, end) = cache.part.rows;
            let part = end - start;
            let heads = port.channels * port.height / part.max(1);
            let tokens = rows.len() / (heads * head_dim).max(1);
            let region = port.columns(first..first + tokens);
            let from = |row: usize, token: usize| {
                let (head, element) = (row / part, start + row % part);
                rows.get((token * heads + head) * head_dim + element).copied().unwrap_or(0.0)
            };
            let columns: Vec<f32> = (0..heads * part)
                .flat_map(|row| (0..tokens).map(move |token| (row, token)))
                .map(|(row, token)| from(row, token))
                .collect();
            state.surface.write_region_f32(port, &region, &columns).map_err(failed)?;
            state.written = state.written.max(first + tokens);
            written = true;
        }
        if written { Ok(()) } else { Err(RunError::NoState { name: name.to_owned() }) }
    }
}

/// The parts of a state that programs have as caches, with where they lie and how long whole heads are.
fn parts_of_state<'p>(
    plans: &'p [Arc<EnginePlan>],
    name: &str,
) -> Vec<(&'p Cache, &'p Port, usize)> {
    let of_plan = |plan: &'p Arc<EnginePlan>| {
        let parts: Vec<_> = (plan.caches.iter())
            .filter(|cache| cache.part.state == name)
            .filter_map(|cache| Some((cache, port_of(plan, cache.columns)?)))
            .collect();
        let head_dim = parts.iter().map(|(cache, _)| cache.part.rows.1).max()?;
        Some(parts.into_iter().map(|(cache, port)| (cache, port, head_dim)).collect())
    };
    plans.iter().find_map(of_plan).unwrap_or_default()
}

/// How the engine's programs see a value.
pub(super) fn port_of(plan: &EnginePlan, value: ValueId) -> Option<&Port> {
    plan.steps.iter().find_map(|step| match &**step {
        Step::Engine(step) => {
            step.values().find(|(_, other)| *other == value).map(|(port, _)| port)
        }
        Step::Host(_) => None,
    })
}
