//! Reads the text form of [`print`](super::print). Every mistake is reported, not only the first: after one, reading
//! goes on with the next line. `//` starts a comment.
//!
//! | code | rule |
//! |---|---|
//! | IR001 | the text is made of the language's tokens |
//! | IR002 | a statement has its form |
//! | IR003 | a name is defined before it is used, and once |
//! | IR004 | an operation exists and has exactly its attributes |

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attribute::Attribute;
use super::lex::{Kind, Token, lex};
use super::program::{Definition, Parameter, Program, State, ValueId};
use super::types::TensorType;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::{DType, Op};

/// A program from its text. It still has to be [verified](crate::verify).
pub fn parse(text: &str) -> Result<Program, Diagnostics> {
    let (tokens, findings) = lex(text);
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        program: Program::default(),
        names: BTreeMap::new(),
        nexts: Vec::new(),
        spans: Default::default(),
        findings,
    };
    if let Err(finding) = parser.program() {
        parser.findings.push(finding);
    }
    parser.resolve_states();
    if parser.findings.is_empty() {
        parser.program.spans = parser.spans.into_iter().flatten().collect();
        return Ok(parser.program);
    }
    parser.findings.sort_by_key(|finding| finding.span);
    Err(Diagnostics { list: parser.findings, text: text.to_owned() })
}

const STATEMENT: &str = "`input`, `weight`, `state`, `output` or a value";

type Parsed<T> = Result<T, Diagnostic>;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    program: Program,
    names: BTreeMap<String, ValueId>,
    /// For each state, the name of its next value and where it stands.
    nexts: Vec<(String, (usize, usize))>,
    /// Where inputs, weights, states and outputs stand.
    spans: [Vec<(usize, usize)>; 4],
    findings: Vec<Diagnostic>,
}

impl Parser<'_> {
    fn program(&mut self) -> Parsed<()> {
        self.word_is("program")?;
        self.program.name = match self.next() {
            Token { kind: Kind::Word(name) | Kind::Text(name), .. } => name,
            token => return Err(expected("the program's name", &token)),
        };
        self.sign('{')?;
        loop {
            match &self.peek().kind {
                Kind::Sign('}') => break,
                Kind::End => return Err(expected("`}`", self.peek())),
                _ => {
                    let start = self.peek().span.0;
                    if let Err(finding) = self.statement() {
                        self.findings.push(finding);
                        self.skip_line(start);
                    }
                }
            }
        }
        self.sign('}')?;
        match self.next() {
            Token { kind: Kind::End, .. } => Ok(()),
            token => Err(expected("nothing after the program", &token)),
        }
    }

    fn statement(&mut self) -> Parsed<()> {
        let token = self.peek().clone();
        match &token.kind {
            Kind::Name(_) => self.node(),
            Kind::Word(word) => {
                let kind = self.signature(word)?;
                self.spans[kind].push((token.span.0, self.tokens[self.at - 1].span.1));
                Ok(())
            }
            _ => Err(expected(STATEMENT, &token)),
        }
    }

    /// A statement that starts with `word`, as the index of its kind.
    fn signature(&mut self, word: &str) -> Parsed<usize> {
        let token = self.next();
        match word {
            "input" => {
                let index = self.program.inputs.len();
                let parameter = self.parameter(Definition::Input(index))?;
                self.program.inputs.push(parameter);
                Ok(0)
            }
            "weight" => {
                let index = self.program.weights.len();
                let parameter = self.parameter(Definition::Weight(index))?;
                self.program.weights.push(parameter);
                Ok(1)
            }
            "state" => {
                let index = self.program.states.len();
                let Parameter { name, value } = self.parameter(Definition::State(index))?;
                self.expect(&Kind::Arrow, "`->` and the state's next value")?;
                let next = self.name()?;
                self.nexts.push(next);
                self.program.states.push(State { name, value, next: value });
                Ok(2)
            }
            "output" => {
                let value = self.operand()?;
                let name = self.quoted()?;
                self.program.outputs.push(Parameter { name, value });
                Ok(3)
            }
            _ => Err(expected(STATEMENT, &token)),
        }
    }

    /// `%0 "x": f32[2,8]`
    fn parameter(&mut self, definition: Definition) -> Parsed<Parameter> {
        let (own, span) = self.name()?;
        let name = self.quoted()?;
        self.sign(':')?;
        let ty = self.tensor_type()?;
        let value = self.program.add_value(ty, definition);
        self.define(&own, span, value);
        Ok(Parameter { name, value })
    }

    /// `%3: f32[2], %4: f32[3] = split(%0) {axis = 0, sizes = [2, 3]} @ model`
    fn node(&mut self) -> Parsed<()> {
        let start = self.peek().span.0;
        let mut results = Vec::new();
        loop {
            let (name, span) = self.name()?;
            self.sign(':')?;
            results.push((name, span, self.tensor_type()?));
            match self.next() {
                Token { kind: Kind::Sign(','), .. } => {}
                Token { kind: Kind::Sign('='), .. } => break,
                token => return Err(expected("`,` or `=`", &token)),
            }
        }
        let (op_name, op_span) = match self.next() {
            Token { kind: Kind::Word(word), span } => (word, span),
            token => return Err(expected("an operation", &token)),
        };
        self.sign('(')?;
        let mut inputs = Vec::new();
        while self.peek().kind != Kind::Sign(')') {
            if !inputs.is_empty() {
                self.sign(',')?;
            }
            inputs.push(self.operand()?);
        }
        self.sign(')')?;
        let fields =
            if self.peek().kind == Kind::Sign('{') { self.attributes()? } else { Vec::new() };
        let mut end = self.tokens[self.at - 1].span.1;
        let scope = match self.peek().kind.clone() {
            Kind::Scope(scope) => {
                end = self.next().span.1;
                scope
            }
            _ => String::new(),
        };
        let op = Op::read(&op_name, &fields).map_err(|error| {
            Diagnostic::new("IR004", format!("{op_name}: {error}")).at(Some(op_span))
        })?;
        let types = results.iter().map(|(_, _, ty)| ty.clone()).collect();
        let node = self.program.add_node(op, inputs, types, Arc::from(scope));
        self.program.nodes[node.index()].span = Some((start, end));
        self.program.order.push(node);
        let outputs = self.program.node(node).outputs.clone();
        for ((name, span, _), value) in results.into_iter().zip(outputs) {
            self.define(&name, span, value);
        }
        Ok(())
    }

    /// `{axis = -1, keep = true}`
    fn attributes(&mut self) -> Parsed<Vec<(String, Attribute)>> {
        self.sign('{')?;
        let mut fields = Vec::new();
        loop {
            let name = match self.next() {
                Token { kind: Kind::Word(word), .. } => word,
                token => return Err(expected("an attribute's name", &token)),
            };
            self.sign('=')?;
            fields.push((name, self.attribute(0)?));
            match self.next() {
                Token { kind: Kind::Sign(','), .. } => {}
                Token { kind: Kind::Sign('}'), .. } => return Ok(fields),
                token => return Err(expected("`,` or `}`", &token)),
            }
        }
    }

    fn attribute(&mut self, depth: usize) -> Parsed<Attribute> {
        match self.next() {
            Token { kind: Kind::Int(value), .. } => Ok(Attribute::Int(value)),
            Token { kind: Kind::Float(value), .. } => Ok(Attribute::Float(value)),
            Token { kind: Kind::Word(word), .. } => Ok(match word.as_str() {
                "inf" => Attribute::Float(f64::INFINITY),
                "nan" => Attribute::Float(f64::NAN),
                _ => Attribute::Word(word),
            }),
            // Lists nest two deep at most in any operation; the bound keeps hostile text off the stack.
            Token { kind: Kind::Sign('['), .. } if depth < 4 => {
                let mut items = Vec::new();
                while self.peek().kind != Kind::Sign(']') {
                    if !items.is_empty() {
                        self.sign(',')?;
                    }
                    items.push(self.attribute(depth + 1)?);
                }
                self.sign(']')?;
                Ok(Attribute::List(items))
            }
            token => Err(expected("a number, a word or a list", &token)),
        }
    }

    /// `f32[1,8]`
    fn tensor_type(&mut self) -> Parsed<TensorType> {
        let token = self.next();
        let Kind::Word(word) = &token.kind else {
            return Err(expected("a type such as f32[1,8]", &token));
        };
        let dtype: DType = word
            .parse()
            .map_err(|error| Diagnostic::new("IR002", format!("{error}")).at(Some(token.span)))?;
        self.sign('[')?;
        let mut shape = Vec::new();
        while self.peek().kind != Kind::Sign(']') {
            if !shape.is_empty() {
                self.sign(',')?;
            }
            let token = self.next();
            let dim = match token.kind {
                Kind::Int(value) => usize::try_from(value).ok(),
                _ => None,
            };
            shape.push(dim.ok_or_else(|| expected("a dimension", &token))?);
        }
        self.sign(']')?;
        let ty = TensorType::new(dtype, shape);
        if ty.elements() > MOST_ELEMENTS {
            let message =
                format!("{ty} is larger than any tensor may be ({MOST_ELEMENTS} elements)");
            return Err(Diagnostic::new("IR002", message).at(Some(token.span)));
        }
        Ok(ty)
    }

    fn operand(&mut self) -> Parsed<ValueId> {
        let (name, span) = self.name()?;
        self.names.get(&name).copied().ok_or_else(|| undefined(&name, span))
    }

    fn name(&mut self) -> Parsed<(String, (usize, usize))> {
        match self.next() {
            Token { kind: Kind::Name(name), span } if !name.is_empty() => Ok((name, span)),
            token => Err(expected("a value such as %0", &token)),
        }
    }

    fn quoted(&mut self) -> Parsed<String> {
        match self.next() {
            Token { kind: Kind::Text(text), .. } => Ok(text),
            token => Err(expected("a name in quotes", &token)),
        }
    }

    fn define(&mut self, name: &str, span: (usize, usize), value: ValueId) {
        if self.names.insert(name.to_owned(), value).is_some() {
            let finding = Diagnostic::new("IR003", format!("`%{name}` is defined twice"));
            self.findings.push(finding.at(Some(span)).help("give the second value another name"));
        }
        // Numbers are no names: printing counts anew.
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            self.program.values[value.index()].name = Some(Arc::from(name));
        }
    }

    /// States name values that come later in the text.
    fn resolve_states(&mut self) {
        for (state, (name, span)) in self.program.states.iter_mut().zip(&self.nexts) {
            match self.names.get(name) {
                Some(&value) => state.next = value,
                None => self.findings.push(undefined(name, *span)),
            }
        }
    }

    /// Goes on at the first token on a line after the one that a failed statement began on, or at a closing brace.
    fn skip_line(&mut self, start: usize) {
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        if self.at > 0 && self.tokens[self.at - 1].span.0 > line_end {
            // The failure was noticed on a later line, whose first token has been taken.
            self.at -= 1;
        }
        while self.peek().span.0 <= line_end && self.peek().kind != Kind::End {
            if self.peek().kind == Kind::Sign('}') && self.last_brace() {
                return;
            }
            self.at += 1;
        }
    }

    /// Whether only the end follows the token at hand.
    fn last_brace(&self) -> bool {
        self.at + 2 == self.tokens.len()
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    fn sign(&mut self, sign: char) -> Parsed<()> {
        self.expect(&Kind::Sign(sign), &format!("`{sign}`"))
    }

    fn word_is(&mut self, word: &str) -> Parsed<()> {
        self.expect(&Kind::Word(word.to_owned()), &format!("`{word}`"))
    }

    fn expect(&mut self, kind: &Kind, description: &str) -> Parsed<()> {
        let token = self.next();
        if token.kind == *kind { Ok(()) } else { Err(expected(description, &token)) }
    }
}

/// 2⁴⁰: beyond any model's tensor, and far from overflow when multiplied by element sizes.
const MOST_ELEMENTS: usize = 1 << 40;

fn expected(what: &str, found: &Token) -> Diagnostic {
    Diagnostic::new("IR002", format!("expected {what}, found {}", found.kind.describe()))
        .at(Some(found.span))
}

fn undefined(name: &str, span: (usize, usize)) -> Diagnostic {
    Diagnostic::new("IR003", format!("`%{name}` is not defined before its use")).at(Some(span))
}
