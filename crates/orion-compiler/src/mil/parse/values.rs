//! Types and values.

use super::super::lex::{Kind, Token};
use super::super::syntax::{Argument, Dim, Dims, Type, TypeArgument, Typed, Value, Word};
use super::{Parsed, Parser, shortened};
use crate::Diagnostic;

impl<'t> Parser<'t> {
    pub(super) fn ty(&mut self) -> Parsed<Type<'t>> {
        let head = self.name("a type")?;
        self.ty_of(head)
    }

    fn ty_of(&mut self, head: Word<'t>) -> Parsed<Type<'t>> {
        if !self.now.is(b'<') {
            return Ok(Type::Simple(head));
        }
        if head.text == "tensor" {
            self.take();
            let element = self.name("an element type")?;
            self.expect(b',')?;
            let dims = self.dims()?;
            self.expect(b'>')?;
            return Ok(Type::Tensor { head, element, dims });
        }
        let arguments = self.nested(|parser| parser.list(b'<', b'>', Self::type_argument))?;
        Ok(Type::Composed { head, arguments })
    }

    fn type_argument(&mut self) -> Parsed<TypeArgument<'t>> {
        if self.now.is(b'[') {
            return Ok(TypeArgument::Dims(self.dims()?));
        }
        if self.now.kind != Kind::Name {
            return Ok(TypeArgument::Length(self.dim()?));
        }
        let head = self.take().word;
        if self.accept(b'=') {
            return Ok(TypeArgument::Named(head, self.dims()?));
        }
        Ok(TypeArgument::Type(self.ty_of(head)?))
    }

    fn dims(&mut self) -> Parsed<Dims> {
        let mut dims = Dims::new();
        self.expect(b'[')?;
        while !self.now.is(b']') {
            dims.push(self.dim()?);
            if !self.accept(b',') && !self.now.is(b']') {
                return self.unexpected("`,` or `]`");
            }
        }
        self.take();
        Ok(dims)
    }

    fn dim(&mut self) -> Parsed<Dim> {
        if self.accept(b'?') {
            return Ok(Dim::UNKNOWN);
        }
        let Token { kind: Kind::Number, word } = self.now else {
            return self.unexpected("a dimension, a number or `?`");
        };
        let Some(dim) = word.text.parse().ok().and_then(Dim::new) else {
            let message = format!("`{}` is no dimension", shortened(word.text));
            let help = "a dimension is a whole number below 2⁶⁴ - 1, or `?`";
            self.note(Diagnostic::new("MIL005", message).at(Some(word.span())).help(help));
            self.take();
            return Ok(Dim::UNKNOWN);
        };
        self.take();
        Ok(dim)
    }

    pub(super) fn value(&mut self) -> Parsed<Value<'t>> {
        match self.now.kind {
            Kind::Name => {
                let word = self.take().word;
                self.value_of(word)
            }
            Kind::Number => Ok(Value::Number(self.number("a number")?)),
            Kind::String(true) => Ok(Value::String(self.take().word)),
            _ if self.now.is(b'[') => {
                self.nested(|parser| Ok(Value::List(parser.list(b'[', b']', Self::value)?)))
            }
            _ if self.now.is(b'(') => {
                self.nested(|parser| Ok(Value::Tuple(parser.list(b'(', b')', Self::value)?)))
            }
            _ if self.now.is(b'{') => self.nested(|parser| {
                let items = parser.list(b'{', b'}', |parser| {
                    parser.expect(b'{')?;
                    let key = parser.value()?;
                    parser.expect(b',')?;
                    let value = parser.value()?;
                    parser.expect(b'}')?;
                    Ok((key, value))
                })?;
                Ok(Value::Dict(items))
            }),
            _ => self.unexpected("a value"),
        }
    }

    /// The value that begins with this name.
    fn value_of(&mut self, word: Word<'t>) -> Parsed<Value<'t>> {
        if self.now.is(b'<') {
            let ty = self.ty_of(word)?;
            return self.nested(|parser| {
                parser.expect(b'(')?;
                let value = parser.value()?;
                parser.expect(b')')?;
                Ok(Value::Typed(Box::new(Typed { ty, value })))
            });
        }
        if !self.now.is(b'(') {
            return Ok(match word.text {
                "true" | "false" => Value::Bool(word),
                "inf" | "nan" => Value::Number(word),
                _ => Value::Name(word),
            });
        }
        self.nested(|parser| {
            parser.take();
            if parser.now.kind != Kind::Name {
                let value = parser.value()?;
                parser.expect(b')')?;
                let ty = Type::Simple(word);
                return Ok(Value::Typed(Box::new(Typed { ty, value })));
            }
            let first = parser.take().word;
            if !parser.accept(b'=') {
                let value = parser.value_of(first)?;
                parser.expect(b')')?;
                let ty = Type::Simple(word);
                return Ok(Value::Typed(Box::new(Typed { ty, value })));
            }
            let mut arguments = vec![Argument { name: first, value: parser.value()? }];
            while parser.accept(b',') {
                arguments.push(parser.argument()?);
            }
            parser.expect(b')')?;
            Ok(Value::Call(word, arguments))
        })
    }
}
