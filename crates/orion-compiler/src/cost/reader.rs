//! Reads what a function asks for: which operations cost anything, what rides along with them, which constants they read.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::constant::{Constant, Constants, Format};
use super::operation::{Class, Fusion, class, fusion};
use super::work::{Operand, Operation, Weight, Work};
use crate::mil::scope::Scope;
use crate::mil::stat::{bytes_of, flag, flops, known};
use crate::mil::syntax::{Function, Statement, Value, Word};

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// A value with its bytes, and the operation that made it; none for an input.
    Value { bytes: u64, maker: Option<usize>, is_int8: bool },
    /// A constant.
    Constant(Constant),
}

/// A function that is being read.
pub(super) struct Reader<'f, 't> {
    function: &'f Function<'t>,
    scope: Scope<'f, 't>,
    constants: Constants<'t>,
    held: HashMap<&'t str, Held>,
    readers: HashMap<&'t str, u32>,
    results: HashSet<&'t str>,
    used: HashSet<u32>,
    work: Work,
}

impl<'f, 't> Reader<'f, 't> {
    pub(super) fn new(function: &'f Function<'t>) -> Self {
        let mut readers: HashMap<&str, u32> = HashMap::with_capacity(function.statements.len());
        for statement in function.statements.iter().filter(|statement| !statement.is_const()) {
            for name in statement.arguments.iter().flat_map(|argument| argument.value.names()) {
                *readers.entry(name.text).or_default() += 1;
            }
        }
        Self {
            function,
            scope: Scope::new(function),
            constants: Constants::default(),
            held: HashMap::with_capacity(function.statements.len()),
            readers,
            results: function.results.iter().map(|result| result.text).collect(),
            used: HashSet::new(),
            work: Work { function: function.name.text.to_owned(), ..Work::default() },
        }
    }

    pub(super) fn read(mut self) -> Work {
        for parameter in &self.function.parameters {
            let bytes = bytes_of(&parameter.ty).unwrap_or_default();
            self.work.inputs = self.work.inputs.saturating_add(bytes);
            let input = Held::Value { bytes, maker: None, is_int8: false };
            self.held.insert(parameter.name.text, input);
        }
        for (index, statement) in self.function.statements.iter().enumerate() {
            self.statement(index, statement);
        }
        for result in &self.function.results {
            let ty = self.scope.definition(result.text).map(|definition| &definition.ty);
            let bytes = ty.and_then(bytes_of).unwrap_or_default();
            self.work.results = self.work.results.saturating_add(bytes);
        }
        self.work
    }

    fn statement(&mut self, index: usize, statement: &'f Statement<'t>) {
        if statement.is_const() {
            let literal = statement.operand("val").and_then(|value| self.constants.literal(value));
            self.hold_all(statement, literal.map(Held::Constant));
            return;
        }
        if statement.op.text.starts_with("constexpr_") {
            let unpacked = self.constants.unpacked(statement, &self.scope);
            self.hold_all(statement, unpacked.map(Held::Constant));
            return;
        }
        self.work.statements += 1;
        self.work.unknown +=
            statement.results.iter().filter(|result| bytes_of(&result.ty).is_none()).count();
        let operands = self.operands(statement);
        // What only constants go into is computed once, by the compiler.
        if operands.values.is_empty()
            && let Some(largest) = operands.constants.iter().max_by_key(|constant| constant.stored)
        {
            self.hold_all(statement, Some(Held::Constant(*largest)));
            return;
        }
        match class(statement.op.text) {
            Class::Free => self.alias(statement, &operands),
            class => {
                if !self.fuse(statement, &operands) {
                    self.operation(index, statement, class, &operands);
                }
            }
        }
    }

    fn hold_all(&mut self, statement: &Statement<'t>, held: Option<Held>) {
        let Some(held) = held else { return };
        for result in &statement.results {
            self.held.insert(result.name.text, held);
        }
    }

    /// A result that is the operand's bytes under another name.
    fn alias(&mut self, statement: &Statement<'t>, operands: &Operands<'t>) {
        let first = operands.values.first().and_then(|name| self.held.get(name.text)).copied();
        let Some(Held::Value { bytes, maker, is_int8 }) = first else { return };
        let is_int8 = is_int8 || statement.op.text == "dequantize";
        // A cast gives its result the size that the engine computes with.
        let bytes = match statement.op.text {
            "cast" => statement.results.first().and_then(|r| bytes_of(&r.ty)).unwrap_or(bytes),
            _ => bytes,
        };
        self.hold_all(statement, Some(Held::Value { bytes, maker, is_int8 }));
        self.mark_results(statement, maker);
    }

    /// Where a result of the function has another name than what made it, what made it still writes a result.
    fn mark_results(&mut self, statement: &Statement<'t>, maker: Option<usize>) {
        if statement.results.iter().any(|result| self.results.contains(result.name.text))
            && let Some(maker) = maker.and_then(|maker| self.work.operations.get_mut(maker))
        {
            maker.writes.iter_mut().for_each(|write| write.is_interface = true);
        }
    }

    /// Whether the statement is a step behind the sums of the operation before it, and what follows from that.
    fn fuse(&mut self, statement: &'f Statement<'t>, operands: &Operands<'t>) -> bool {
        let [operand] = operands.values.as_slice() else { return false };
        let Some(&Held::Value { maker: Some(maker), .. }) = self.held.get(operand.text) else {
            return false;
        };
        if self.readers.get(operand.text) != Some(&1) || self.results.contains(operand.text) {
            return false;
        }
        let result = statement.results.first().and_then(|result| bytes_of(&result.ty));
        let (Some(operation), Some(bytes)) = (self.work.operations.get_mut(maker), result) else {
            return false;
        };
        let elements =
            statement.results.first().and_then(|result| known(&result.ty)).map(|dims| size(&dims));
        let small = operands.constants.iter().all(|c| Some(c.elements) < elements);
        let fits = match fusion(statement.op.text) {
            Fusion::Activation => true,
            Fusion::Scale => small && !operands.constants.is_empty(),
            Fusion::Never => false,
        };
        if !fits || !operation.class.sums() {
            return false;
        }
        operation.writes = SmallVec::from_elem(Operand { bytes, is_interface: false }, 1);
        let is_int8 = statement.op.text == "quantize";
        self.hold_all(statement, Some(Held::Value { bytes, maker: Some(maker), is_int8 }));
        self.mark_results(statement, Some(maker));
        true
    }

    fn operation(
        &mut self,
        index: usize,
        statement: &'f Statement<'t>,
        class: Class,
        operands: &Operands<'t>,
    ) {
        let number = self.work.operations.len();
        let reads: SmallVec<[Operand; 2]> = operands
            .values
            .iter()
            .filter_map(|name| match self.held.get(name.text)? {
                Held::Value { bytes, maker, .. } => {
                    Some(Operand { bytes: *bytes, is_interface: maker.is_none() })
                }
                Held::Constant(_) => None,
            })
            .collect();
        let mut writes = SmallVec::new();
        let mut elements = 0_u64;
        for result in &statement.results {
            let bytes = bytes_of(&result.ty).unwrap_or_default();
            let is_interface = self.results.contains(result.name.text);
            writes.push(Operand { bytes, is_interface });
            let is_int8 = statement.op.text == "quantize";
            let held = Held::Value { bytes, maker: Some(number), is_int8 };
            self.held.insert(result.name.text, held);
            let dims = known(&result.ty).unwrap_or_default();
            elements = elements.saturating_add(size(&dims));
        }
        let mut operation = Operation {
            statement: index,
            class,
            flops: if class.sums() { flops(statement, &self.scope).unwrap_or_default() } else { 0 },
            elements,
            weights: SmallVec::new(),
            reads,
            writes,
            depth: 0,
            staying: 0,
            streaming: 0,
            is_windowed: false,
            is_single_row: false,
            is_int8: false,
        };
        match class {
            Class::Convolution => self.convolution(statement, &mut operation),
            Class::Product => self.product(statement, &mut operation),
            Class::Attention => self.attention(statement, &mut operation),
            Class::Reduction => operation.elements = self.elements(statement, "x"),
            Class::Elementwise if self.repeats(statement, elements) => {
                operation.class = Class::Broadcast;
            }
            Class::Division if self.elements(statement, "y") <= 1 => {
                operation.class = Class::Elementwise;
            }
            _ => {}
        }
        if operation.weights.is_empty() {
            operation.weights =
                operands.constants.iter().map(|constant| self.weight(*constant, 0)).collect();
        }
        self.work.operations.push(operation);
    }

    fn convolution(&mut self, statement: &'f Statement<'t>, operation: &mut Operation) {
        let kernel = self.dims(statement, "weight");
        let channels = kernel.first().copied().unwrap_or_default();
        operation.depth = kernel.get(1..).map_or(0, size);
        operation.is_windowed = kernel.get(2..).is_some_and(|window| size(window) > 1);
        let image = self.dims(statement, "x");
        operation.is_single_row = image.len() == 4 && image.get(2) == Some(&1);
        // One image of a batch has to stay.
        let images = image.first().copied().unwrap_or(1).max(1);
        operation.staying = operation.reads.first().map_or(0, |read| read.bytes) / images;
        let (x, constant) = (self.held(statement, "x"), self.held(statement, "weight"));
        if let Some(Held::Constant(constant)) = constant {
            let weight = self.weight(constant, channels);
            operation.is_int8 = matches!(x, Some(Held::Value { is_int8: true, .. }))
                && constant.format == Format::Int8;
            operation.weights.push(weight);
        }
    }

    fn product(&mut self, statement: &'f Statement<'t>, operation: &mut Operation) {
        let [left, right] = match statement.op.text {
            "linear" => ["x", "weight"],
            _ => ["x", "y"],
        };
        let (a, b) = (self.dims(statement, left), self.dims(statement, right));
        let [transpose_x, transpose_y] = ["transpose_x", "transpose_y"].map(|name| {
            statement.operand(name).and_then(|value| flag(value, &self.scope)).unwrap_or_default()
        });
        let from_end = |dims: &[u64], n: usize| -> Option<u64> {
            dims.len().checked_sub(n).and_then(|at| dims.get(at).copied())
        };
        operation.depth = from_end(&a, if transpose_x { 2 } else { 1 }).unwrap_or_default();
        let batch = size(a.get(..a.len().saturating_sub(2)).unwrap_or(&[])).max(1);
        match (self.held(statement, left), self.held(statement, right)) {
            (Some(Held::Value { bytes, .. }), Some(Held::Constant(constant))) => {
                let is_transposed = statement.op.text == "linear" || transpose_y;
                let channels = from_end(&b, if is_transposed { 2 } else { 1 });
                operation.staying = bytes;
                let weight = self.weight(constant, channels.unwrap_or_default());
                operation.weights.push(weight);
            }
            (Some(Held::Constant(constant)), Some(Held::Value { bytes, .. })) => {
                operation.staying = bytes;
                let weight = self.weight(constant, 0);
                operation.weights.push(weight);
            }
            (Some(Held::Value { bytes, .. }), Some(Held::Value { bytes: streaming, .. })) => {
                operation.staying = bytes / batch;
                operation.streaming = streaming;
            }
            _ => {}
        }
    }

    fn attention(&mut self, statement: &'f Statement<'t>, operation: &mut Operation) {
        let (query, key) = (self.dims(statement, "query"), self.dims(statement, "key"));
        let before_last = key.len().checked_sub(2).and_then(|at| key.get(at)).copied();
        let rows = query.get(..query.len().saturating_sub(1)).map_or(0, size);
        operation.elements = rows.saturating_mul(before_last.unwrap_or_default());
        operation.depth = query.last().copied().unwrap_or_default();
    }

    fn weight(&mut self, constant: Constant, channels: u64) -> Weight {
        let is_repeated = !self.used.insert(constant.number);
        if !is_repeated {
            self.work.constants = self.work.constants.saturating_add(constant.stored);
        }
        Weight { constant, channels, is_repeated }
    }

    fn held(&mut self, statement: &'f Statement<'t>, operand: &str) -> Option<Held> {
        match statement.operand(operand)? {
            Value::Name(name) => self.held.get(name.text).copied(),
            literal => self.constants.literal(literal).map(Held::Constant),
        }
    }

    fn dims(&self, statement: &'f Statement<'t>, operand: &str) -> Vec<u64> {
        let ty = match statement.operand(operand) {
            Some(Value::Name(name)) => self.scope.definition(name.text).map(|found| &found.ty),
            Some(Value::Typed(typed)) => Some(&typed.ty),
            _ => None,
        };
        ty.and_then(known).unwrap_or_default()
    }

    /// Whether an operand has less elements than the result, and more than one.
    fn repeats(&self, statement: &'f Statement<'t>, elements: u64) -> bool {
        let short = |operand| (2..elements).contains(&self.elements(statement, operand));
        short("x") || short("y")
    }

    fn elements(&self, statement: &'f Statement<'t>, operand: &str) -> u64 {
        size(&self.dims(statement, operand))
    }

    /// What a statement computes with: values, and constants that are no settings.
    fn operands(&mut self, statement: &'f Statement<'t>) -> Operands<'t> {
        let mut operands = Operands::default();
        for argument in &statement.arguments {
            let is_operand = OPERANDS.contains(&argument.name.text);
            for name in argument.value.names() {
                match self.held.get(name.text) {
                    Some(Held::Constant(constant)) if is_operand => {
                        operands.constants.push(*constant);
                    }
                    Some(Held::Value { .. }) => operands.values.push(name),
                    _ => {}
                }
            }
            if is_operand && argument.value.names().next().is_none() {
                operands.constants.extend(self.constants.literal(&argument.value));
            }
        }
        operands
    }
}

/// Arguments that are operands; all others are settings.
const OPERANDS: &[&str] = &[
    "x",
    "y",
    "weight",
    "bias",
    "gamma",
    "beta",
    "values",
    "query",
    "key",
    "value",
    "attn_mask",
    "a",
    "b",
    "cond",
    "alpha",
    "input",
    "data",
];

#[derive(Debug, Default)]
struct Operands<'t> {
    values: SmallVec<[Word<'t>; 4]>,
    constants: SmallVec<[Constant; 2]>,
}

fn size(dims: &[u64]) -> u64 {
    dims.iter().fold(1, |all, &dim| all.saturating_mul(dim))
}
