//! The reader of MIL text. It goes on behind a mistake, at the next statement or function, and reports every one with its
//! place. Grammar: facts §3, and what Core ML's own compiler writes.

mod values;

use smallvec::SmallVec;

use super::lex::{Kind, Lexer, Token};
use super::number;
use super::syntax::{Argument, Document, Function, Parameter, Statement, Type, TypeArgument, Word};
use crate::{Diagnostic, Diagnostics};

/// How deep types and values may stand in one another.
const DEPTH: usize = 64;
/// Mistakes after which the rest of a text is not worth reading.
const ENOUGH: usize = 50;

/// Reads a text.
///
/// # Errors
/// All mistakes, each with its place: `MIL001` what is not UTF-8 or too long, `MIL002` a word that does not fit, `MIL003` a
/// string without end, `MIL004` nesting too deep, `MIL005` a number that is none.
pub fn parse(text: &str) -> Result<Document<'_>, Diagnostics> {
    if u32::try_from(text.len()).is_err() {
        let refused = Diagnostic::new("MIL001", "the text is longer than 4 GiB");
        return Err(Diagnostics { list: vec![refused], text: String::new() });
    }
    let mut lexer = Lexer::new(text);
    let now = lexer.next();
    let mut parser =
        Parser { lexer, now, behind: 0, depth: 0, mistakes: Vec::new(), fed_up: false };
    let document = parser.document();
    let list = parser.mistakes;
    if list.is_empty() { Ok(document) } else { Err(Diagnostics { list, text: text.to_owned() }) }
}

/// Reads the bytes of a file.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8]) -> Result<Document<'_>, Diagnostics> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(error) => {
            let (before, after) = bytes.split_at(error.valid_up_to());
            let byte = after.first().copied().unwrap_or_default();
            let line = String::from_utf8_lossy(after);
            let line = line.split('\n').next().unwrap_or_default();
            let text = String::from_utf8_lossy(before).into_owned() + line;
            let list = vec![
                Diagnostic::new("MIL001", format!("the byte {byte:#04x} is not UTF-8"))
                    .at(Some((before.len(), before.len())))
                    .help("MIL is text; is this file another format, or damaged?"),
            ];
            Err(Diagnostics { list, text })
        }
    }
}

/// The text does not go on as it should; the mistake has been noted.
struct Stop;
type Parsed<T> = Result<T, Stop>;

struct Parser<'t> {
    lexer: Lexer<'t>,
    now: Token<'t>,
    /// The byte behind the last word that was taken.
    behind: usize,
    depth: usize,
    mistakes: Vec<Diagnostic>,
    fed_up: bool,
}

impl<'t> Parser<'t> {
    fn take(&mut self) -> Token<'t> {
        let taken = self.now;
        self.behind = taken.word.span().1;
        self.now = self.lexer.next();
        taken
    }

    fn accept(&mut self, sign: u8) -> bool {
        let found = self.now.is(sign);
        if found {
            self.behind = self.now.word.span().1;
            self.now = self.lexer.next();
        }
        found
    }

    fn note(&mut self, mistake: Diagnostic) {
        if self.mistakes.len() < ENOUGH {
            self.mistakes.push(mistake);
        } else {
            self.fed_up = true;
        }
    }

    fn unexpected<T>(&mut self, wanted: &str) -> Parsed<T> {
        let Token { kind, word } = self.now;
        let (code, found) = match kind {
            Kind::End => ("MIL002", "the end of the text".to_owned()),
            Kind::String(false) => {
                let help = "a string ends with `\"` on its own line";
                self.note(
                    Diagnostic::new("MIL003", "the string does not end")
                        .at(Some(word.span()))
                        .help(help),
                );
                return Err(Stop);
            }
            Kind::Unknown => ("MIL002", format!("`{}`, which MIL does not have", word.text)),
            _ => ("MIL002", format!("`{}`", shortened(word.text))),
        };
        let span = if kind == Kind::End { (self.behind, self.behind) } else { word.span() };
        self.note(
            Diagnostic::new(code, format!("expected {wanted}, found {found}")).at(Some(span)),
        );
        Err(Stop)
    }

    fn expect(&mut self, sign: u8) -> Parsed<()> {
        if self.accept(sign) {
            return Ok(());
        }
        let text = if sign == b'-' { "->".to_owned() } else { char::from(sign).to_string() };
        self.unexpected(&format!("`{text}`"))
    }

    fn name(&mut self, wanted: &str) -> Parsed<Word<'t>> {
        if self.now.kind == Kind::Name { Ok(self.take().word) } else { self.unexpected(wanted) }
    }

    fn number(&mut self, wanted: &str) -> Parsed<Word<'t>> {
        if self.now.kind != Kind::Number {
            return self.unexpected(wanted);
        }
        let word = self.take().word;
        if number::parse(word.text).is_none() {
            let message = format!("`{}` is no number", shortened(word.text));
            self.note(Diagnostic::new("MIL005", message).at(Some(word.span())));
        }
        Ok(word)
    }

    /// What stands between `open` and `close`, separated by commas.
    fn list<T>(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(open)?;
        let mut items = Vec::new();
        while !self.now.is(close) {
            if items.len() < 2 {
                // Most lists have no more, and large texts are slow by the memory that they take.
                items.reserve_exact(1);
            }
            items.push(item(self)?);
            if !self.accept(b',') && !self.now.is(close) {
                return self.unexpected(&format!("`,` or `{}`", char::from(close)));
            }
        }
        self.take();
        Ok(items)
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH {
            let message = format!("nested more than {DEPTH} deep");
            self.note(Diagnostic::new("MIL004", message).at(Some(self.now.word.span())));
            return Err(Stop);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Goes on behind the next semicolon, or before a brace that closes more than was opened on the way.
    fn skip_statement(&mut self) {
        self.depth = 0;
        let mut open = 0_usize;
        loop {
            match self.now.kind {
                Kind::End => return,
                Kind::Sign(b'}') if open == 0 => return,
                // A string without end has swallowed the rest of its line, the semicolon with it.
                Kind::Sign(b';') | Kind::String(false) => {
                    self.take();
                    return;
                }
                Kind::Sign(b'{') => open += 1,
                Kind::Sign(b'}') => open -= 1,
                _ => {}
            }
            self.take();
        }
    }

    fn document(&mut self) -> Document<'t> {
        let (version, attributes) = self.header().unwrap_or_else(|Stop| {
            self.skip_before_brace();
            (self.now.word, Vec::new())
        });
        if self.now.kind == Kind::End && !self.mistakes.is_empty() {
            // Not MIL at all: one mistake says it.
            self.fed_up = true;
        }
        let comments = std::mem::take(&mut self.lexer.comments);
        let mut functions = Vec::new();
        if !self.fed_up && self.expect(b'{').is_ok() {
            while !self.now.is(b'}') && self.now.kind != Kind::End && !self.fed_up {
                if let Ok(function) = self.function() {
                    functions.push(function);
                } else {
                    self.skip_statement();
                    self.accept(b'}');
                    if self.now.is(b'-') {
                        self.skip_statement();
                    }
                }
            }
            if !self.fed_up && self.expect(b'}').is_ok() && self.now.kind != Kind::End {
                self.unexpected::<()>("the end of the text").ok();
            }
        }
        let last_comments = std::mem::take(&mut self.lexer.comments);
        Document { version, attributes, functions, comments, last_comments }
    }

    fn skip_before_brace(&mut self) {
        while !self.now.is(b'{') && self.now.kind != Kind::End {
            self.take();
        }
    }

    fn header(&mut self) -> Parsed<(Word<'t>, Vec<Argument<'t>>)> {
        if self.now.word.text != "program" {
            return self.unexpected("`program(1.3)`, with which a MIL text begins");
        }
        self.take();
        self.expect(b'(')?;
        let version = self.number("a version")?;
        self.expect(b')')?;
        Ok((version, self.attributes()?))
    }

    /// `[a = 1, b = 2]`, or nothing.
    fn attributes(&mut self) -> Parsed<Vec<Argument<'t>>> {
        if self.now.is(b'[') { self.list(b'[', b']', Self::argument) } else { Ok(Vec::new()) }
    }

    fn argument(&mut self) -> Parsed<Argument<'t>> {
        let name = self.name("a name")?;
        if !self.now.is(b'=') {
            let stop = self.unexpected("`=` and a value");
            if let Some(mistake) = self.mistakes.last_mut() {
                mistake.help =
                    Some(format!("arguments have names: `x = {}`", shortened(name.text)));
            }
            return stop;
        }
        self.take();
        Ok(Argument { name, value: self.value()? })
    }

    fn function(&mut self) -> Parsed<Function<'t>> {
        let comments = std::mem::take(&mut self.lexer.comments);
        if self.now.word.text != "func" {
            return self.unexpected("`func` or `}`");
        }
        self.take();
        let name = self.name("the name of a function")?;
        let opset = self.opset()?;
        let parameters = self.list(b'(', b')', |parser| {
            let ty = parser.ty()?;
            let name = parser.name("the name of a parameter")?;
            Ok(Parameter { ty, name })
        })?;
        let attributes = self.attributes()?;
        self.expect(b'{')?;
        let mut statements = Vec::new();
        while !self.now.is(b'}') && self.now.kind != Kind::End && !self.fed_up {
            if let Err(Stop) = self.statement(&mut statements) {
                self.skip_statement();
            }
        }
        let last_comments = std::mem::take(&mut self.lexer.comments);
        self.expect(b'}')?;
        self.expect(b'-')?;
        let results = self.list(b'(', b')', |parser| parser.name("the name of a result"))?;
        self.expect(b';')?;
        Ok(Function {
            name,
            opset,
            parameters,
            attributes,
            statements,
            results,
            comments,
            last_comments,
        })
    }

    fn opset(&mut self) -> Parsed<Option<Word<'t>>> {
        if !self.accept(b'<') {
            return Ok(None);
        }
        let name = self.name("an operation set such as `ios18`")?;
        self.expect(b'>')?;
        Ok(Some(name))
    }

    /// Reads a statement to the end of `into`: it is large, and moved once.
    fn statement(&mut self, into: &mut Vec<Statement<'t>>) -> Parsed<()> {
        let comments = std::mem::take(&mut self.lexer.comments);
        let mut results = SmallVec::new();
        let (op, opset) = loop {
            let ty = self.ty()?;
            if self.now.is(b'(') && results.is_empty() {
                // An operation without results.
                break (ty.head(), opset_of(&ty));
            }
            let name = self.name("the name of a result")?;
            results.push(Parameter { ty, name });
            if self.accept(b',') {
                continue;
            }
            self.expect(b'=')?;
            let op = self.name("an operation")?;
            break (op, self.opset()?);
        };
        let arguments = self.list(b'(', b')', Self::argument)?;
        let attributes = self.attributes()?;
        if self.now.is(b';') {
            self.take();
        } else {
            let behind = self.behind;
            let found = self.now.word.text;
            let message = match self.now.kind {
                Kind::End => {
                    "expected `;` behind a statement, found the end of the text".to_owned()
                }
                _ => format!("expected `;` behind a statement, found `{}`", shortened(found)),
            };
            self.note(Diagnostic::new("MIL002", message).at(Some((behind, behind + 1))));
            // The next statement may well be whole.
            if self.now.kind != Kind::Name {
                self.skip_statement();
            }
        }
        let end = u32::try_from(self.behind).unwrap_or(u32::MAX);
        into.push(Statement { results, op, opset, arguments, attributes, comments, end });
        Ok(())
    }
}

/// The operation set of an operation without results, which was read as a type.
fn opset_of<'t>(ty: &Type<'t>) -> Option<Word<'t>> {
    match ty {
        Type::Composed { arguments, .. } => match arguments.first() {
            Some(TypeArgument::Type(ty)) => Some(ty.head()),
            _ => None,
        },
        _ => None,
    }
}

/// The beginning of a word that may be long.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
