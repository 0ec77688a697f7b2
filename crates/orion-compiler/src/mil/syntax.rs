//! The tree of a MIL text. It borrows the text and keeps every spelling (old and new types, hexadecimal numbers, escapes),
//! so that printing it again loses nothing but white space.

use std::fmt;

use smallvec::SmallVec;

/// A piece of the text that stands for itself: a name, a number, a string with its quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word<'t> {
    /// As written.
    pub text: &'t str,
    /// Byte of the text where it begins.
    pub start: u32,
}

impl Word<'_> {
    /// The bytes of the text that it takes.
    pub const fn span(&self) -> (usize, usize) {
        (self.start as usize, self.start as usize + self.text.len())
    }
}

impl fmt::Debug for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.text, self.start)
    }
}

/// A whole text.
#[derive(Clone, Debug)]
pub struct Document<'t> {
    /// `1.3` of `program(1.3)`.
    pub version: Word<'t>,
    /// `buildInfo` and others.
    pub attributes: Vec<Argument<'t>>,
    /// In the order of the text.
    pub functions: Vec<Function<'t>>,
    /// Comments before the first function's.
    pub comments: Vec<&'t str>,
    /// Comments behind the last function.
    pub last_comments: Vec<&'t str>,
}

/// A function; each is a procedure of the compiled program.
#[derive(Clone, Debug)]
pub struct Function<'t> {
    /// Its name.
    pub name: Word<'t>,
    /// The operation set that it is written for, `ios18`.
    pub opset: Option<Word<'t>>,
    /// What it is called with.
    pub parameters: Vec<Parameter<'t>>,
    /// What stands in brackets behind the parameters.
    pub attributes: Vec<Argument<'t>>,
    /// In the order of the text.
    pub statements: Vec<Statement<'t>>,
    /// Names of the results.
    pub results: Vec<Word<'t>>,
    /// Comments before it.
    pub comments: Vec<&'t str>,
    /// Comments behind the last statement.
    pub last_comments: Vec<&'t str>,
}

/// A parameter of a function, or a result of a statement.
#[derive(Clone, Debug)]
pub struct Parameter<'t> {
    /// Its type.
    pub ty: Type<'t>,
    /// Its name.
    pub name: Word<'t>,
}

/// `results = op(arguments)[attributes];`
#[derive(Clone, Debug)]
pub struct Statement<'t> {
    /// What it defines; nothing for operations such as `write_state`.
    pub results: SmallVec<[Parameter<'t>; 1]>,
    /// The operation.
    pub op: Word<'t>,
    /// The operation set that was chosen for this one, `ios17` of `relu<ios17>`.
    pub opset: Option<Word<'t>>,
    /// In the order of the text.
    pub arguments: Vec<Argument<'t>>,
    /// What stands in brackets behind them; none and `[]` are the same.
    pub attributes: Vec<Argument<'t>>,
    /// Comments before it.
    pub comments: Vec<&'t str>,
    /// The byte behind its semicolon.
    pub end: u32,
}

impl<'t> Statement<'t> {
    /// The argument of this name.
    pub fn argument(&self, name: &str) -> Option<&Value<'t>> {
        named(&self.arguments, name)
    }

    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&Value<'t>> {
        named(&self.attributes, name)
    }

    /// The argument of this name, or the attribute: operations such as `constexpr_affine_dequantize` of iOS 16 take what
    /// they read as attributes.
    pub fn operand(&self, name: &str) -> Option<&Value<'t>> {
        self.argument(name).or_else(|| self.attribute(name))
    }

    /// Whether it defines a constant.
    pub fn is_const(&self) -> bool {
        self.op.text == "const"
    }

    /// The bytes of the text that it takes, without comments.
    pub fn span(&self) -> (usize, usize) {
        let start = self.results.first().map_or(self.op.start, |result| result.ty.head().start);
        (start as usize, self.end as usize)
    }
}

fn named<'a, 't>(arguments: &'a [Argument<'t>], name: &str) -> Option<&'a Value<'t>> {
    arguments.iter().find(|argument| argument.name.text == name).map(|argument| &argument.value)
}

/// `name = value`.
#[derive(Clone, Debug)]
pub struct Argument<'t> {
    /// What it is called.
    pub name: Word<'t>,
    /// What it is.
    pub value: Value<'t>,
}

/// Dimensions of a tensor.
pub type Dims = SmallVec<[Dim; 4]>;

/// A type as written.
#[derive(Clone, Debug)]
pub enum Type<'t> {
    /// `fp16`, `string`.
    Simple(Word<'t>),
    /// `tensor<fp16, [1, 64]>`.
    Tensor {
        /// `tensor`.
        head: Word<'t>,
        /// `fp16`.
        element: Word<'t>,
        /// `[1, 64]`.
        dims: Dims,
    },
    /// `list<string, 5>`, `state<tensor<fp16, [8]>>` and others.
    Composed {
        /// `list`.
        head: Word<'t>,
        /// What stands between angle brackets.
        arguments: Vec<TypeArgument<'t>>,
    },
}

impl<'t> Type<'t> {
    /// The word that it begins with.
    pub const fn head(&self) -> Word<'t> {
        match self {
            Self::Simple(head) | Self::Tensor { head, .. } | Self::Composed { head, .. } => *head,
        }
    }

    /// The element type and dimensions of a tensor; of a scalar type itself, without dimensions.
    pub fn tensor(&self) -> Option<(Word<'t>, &[Dim])> {
        match self {
            Self::Simple(element) => Some((*element, &[])),
            Self::Tensor { element, dims, .. } => Some((*element, dims)),
            Self::Composed { .. } => None,
        }
    }
}

/// What stands between angle brackets.
#[derive(Clone, Debug)]
pub enum TypeArgument<'t> {
    /// Another type.
    Type(Type<'t>),
    /// `[1, ?, 64]`.
    Dims(Dims),
    /// The length of a list.
    Length(Dim),
    /// `strides=[32768, 256, 1]`, of tensor buffers.
    Named(Word<'t>, Dims),
}

/// A dimension: a number of elements, or `?`. One word, because large texts have hundreds of thousands of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim(u64);

impl Dim {
    /// `?`.
    pub const UNKNOWN: Self = Self(u64::MAX);

    /// So many elements; `None` for 2⁶⁴ - 1, which stands for `?` here.
    pub fn new(elements: u64) -> Option<Self> {
        Some(Self(elements)).filter(|&dim| dim != Self::UNKNOWN)
    }

    /// The number of elements, if it is known.
    pub const fn known(self) -> Option<u64> {
        if self.0 == u64::MAX { None } else { Some(self.0) }
    }
}

/// A value with its type.
#[derive(Clone, Debug)]
pub struct Typed<'t> {
    /// Its type.
    pub ty: Type<'t>,
    /// What stands in parentheses behind it.
    pub value: Value<'t>,
}

/// A value as written.
#[derive(Clone, Debug)]
pub enum Value<'t> {
    /// The result of a statement, or a parameter.
    Name(Word<'t>),
    /// Decimal or hexadecimal, also `inf` and `nan`.
    Number(Word<'t>),
    /// With its quotes and escapes.
    String(Word<'t>),
    /// `true` or `false`.
    Bool(Word<'t>),
    /// `tensor<int32, [2]>([1, 1])`, `fp16(0x1p-3)`, `tensor<fp16, [64]>(BLOBFILE(…))`.
    Typed(Box<Typed<'t>>),
    /// `BLOBFILE(path = …, offset = …)`.
    Call(Word<'t>, Vec<Argument<'t>>),
    /// `[1, 2]`.
    List(Vec<Self>),
    /// `(a, b)`.
    Tuple(Vec<Self>),
    /// `{{"key", value}, …}`.
    Dict(Vec<(Self, Self)>),
}

impl<'t> Value<'t> {
    /// The name, if it is one.
    pub const fn name(&self) -> Option<Word<'t>> {
        match self {
            Self::Name(word) => Some(*word),
            _ => None,
        }
    }

    /// The names that it refers to: itself, or those of a tuple.
    pub fn names(&self) -> impl Iterator<Item = Word<'t>> {
        let several = match self {
            Self::Tuple(items) => items.as_slice(),
            _ => &[],
        };
        self.name().into_iter().chain(several.iter().filter_map(Self::name))
    }

    /// The value without its type.
    pub fn bare(&self) -> &Self {
        match self {
            Self::Typed(typed) => &typed.value,
            _ => self,
        }
    }

    /// The first byte of the text that it takes, if it has words.
    pub fn start(&self) -> Option<usize> {
        let word = match self {
            Self::Name(word)
            | Self::Number(word)
            | Self::String(word)
            | Self::Bool(word)
            | Self::Call(word, _) => *word,
            Self::Typed(typed) => typed.ty.head(),
            Self::List(items) | Self::Tuple(items) => return items.first()?.start(),
            Self::Dict(items) => return items.first()?.0.start(),
        };
        Some(word.start as usize)
    }
}

/// The characters of a string that is written with its quotes.
pub fn unquote(text: &str) -> String {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut result = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => result.push('\n'),
                Some('t') => result.push('\t'),
                Some('r') => result.push('\r'),
                Some(other) => result.push(other),
                None => {}
            },
            _ => result.push(letter),
        }
    }
    result
}
