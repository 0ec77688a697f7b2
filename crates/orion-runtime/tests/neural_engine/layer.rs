//! The text of a transformer's layer and of its head, with weights as 1×1 convolutions: for tests and the benchmark.

use std::fmt::Write;

/// Sizes of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Channels.
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    /// Channels of the feed-forward part.
    pub(crate) inner: usize,
    /// Tokens that are computed at once.
    pub(crate) columns: usize,
    /// Tokens of the cache.
    pub(crate) context: usize,
}

impl Shape {
    /// Matrices of a layer: name, rows, columns.
    pub(crate) fn matrices(self) -> [(&'static str, usize, usize); 6] {
        let Self { channels, inner, .. } = self;
        [
            ("q", channels, channels),
            ("k", channels, channels),
            ("v", channels, channels),
            ("o", channels, channels),
            ("up", inner, channels),
            ("down", channels, inner),
        ]
    }
}

/// Writes statements of a function.
struct Text {
    text: String,
    shape: Shape,
}

impl Text {
    fn line(&mut self, ty: &str, name: &str, call: &str) {
        let _ = writeln!(self.text, "        {ty} {name} = {call}[name = string(\"{name}\")];");
    }

    fn constant(&mut self, ty: &str, name: &str, value: &str) {
        let _ = writeln!(
            self.text,
            "        {ty} {name} = const()[name = string(\"{name}\"), val = {value}];"
        );
    }

    fn conv(&mut self, name: &str, weight: &str, x: &str, [rows, columns]: [usize; 2]) {
        let width = self.shape.columns;
        let ty = format!("tensor<fp16, [{rows}, {columns}, 1, 1]>");
        let file = format!("{ty}(BLOBFILE(path = string(\"{weight}.bin\"), offset = uint64(64)))");
        self.constant(&ty, &format!("w_{weight}"), &file);
        self.line(
            &format!("tensor<fp16, [1, {rows}, 1, {width}]>"),
            name,
            &format!("conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w_{weight}, x = {x})"),
        );
    }

    /// A norm over channels, in the operations that trainers have shown on the engine.
    fn norm(&mut self, name: &str, x: &str) {
        let Shape { channels, columns: width, .. } = self.shape;
        let (one, all) = (
            format!("tensor<fp16, [1, 1, 1, {width}]>"),
            format!("tensor<fp16, [1, {channels}, 1, {width}]>"),
        );
        self.line(
            &one,
            &format!("{name}_mean"),
            &format!("reduce_mean(axes = ax, keep_dims = yes, x = {x})"),
        );
        self.line(&all, &format!("{name}_diff"), &format!("sub(x = {x}, y = {name}_mean)"));
        self.line(&all, &format!("{name}_sq"), &format!("mul(x = {name}_diff, y = {name}_diff)"));
        self.line(
            &one,
            &format!("{name}_var"),
            &format!("reduce_mean(axes = ax, keep_dims = yes, x = {name}_sq)"),
        );
        self.line(&one, &format!("{name}_eps"), &format!("add(x = {name}_var, y = eps)"));
        self.line(&one, &format!("{name}_inv"), &format!("pow(x = {name}_eps, y = half)"));
        self.line(&all, &format!("{name}_n"), &format!("mul(x = {name}_diff, y = {name}_inv)"));
        self.line(&all, &format!("{name}_g"), &format!("mul(x = {name}_n, y = gamma)"));
        self.line(&all, name, &format!("add(x = {name}_g, y = gamma)"));
    }

    fn program(self, parameters: &str, results: &str) -> String {
        let channels = self.shape.channels;
        let ones = vec!["1.0"; channels].join(", ");
        let gamma = format!("tensor<fp16, [1, {channels}, 1, 1]>");
        let mut head = Self { text: String::new(), shape: self.shape };
        for (ty, name, value) in [
            ("string", "pt", "string(\"valid\")"),
            ("tensor<int32, [2]>", "st", "tensor<int32, [2]>([1, 1])"),
            ("tensor<int32, [4]>", "pd", "tensor<int32, [4]>([0, 0, 0, 0])"),
            ("tensor<int32, [2]>", "dl", "tensor<int32, [2]>([1, 1])"),
            ("int32", "gr", "int32(1)"),
            ("tensor<int32, [1]>", "ax", "tensor<int32, [1]>([1])"),
            ("bool", "yes", "bool(true)"),
            ("bool", "no", "bool(false)"),
            ("int32", "last", "int32(-1)"),
            ("fp16", "eps", "fp16(1e-5)"),
            ("fp16", "half", "fp16(-0.5)"),
            ("fp16", "scale", "fp16(0.125)"),
            (&gamma, "gamma", &format!("{gamma}([{ones}])")),
        ] {
            head.constant(ty, name, value);
        }
        format!(
            "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]\n{{\n    \
             func main<ios18>({parameters}) {{\n{}{}    }} -> ({results});\n}}\n",
            head.text, self.text
        )
    }
}

/// A layer: norm, attention over the cache, norm, feed-forward.
pub(crate) fn layer_text(shape: Shape) -> String {
    let Shape { channels, heads, inner, columns: width, context } = shape;
    let mut t = Text { text: String::new(), shape };
    let size = channels / heads;
    let all = format!("tensor<fp16, [1, {channels}, 1, {width}]>");
    let by_head = format!("tensor<fp16, [1, {heads}, {size}, {width}]>");
    let scores = format!("tensor<fp16, [1, {heads}, {width}, {context}]>");
    let cache = format!("tensor<fp16, [1, {heads}, {size}, {context}]>");
    t.norm("n1", "x");
    for name in ["q", "k", "v"] {
        t.conv(name, name, "n1", [channels, channels]);
    }
    let list = |list: &str| format!("tensor<int32, [4]>([{list}])");
    t.constant("tensor<int32, [4]>", "to_heads", &list(&format!("1, {heads}, {size}, {width}")));
    t.constant("tensor<int32, [4]>", "from_heads", &list(&format!("1, {channels}, 1, {width}")));
    t.constant("tensor<int32, [4]>", "turn", &list("0, 1, 3, 2"));
    t.line(&by_head, "qh", "reshape(shape = to_heads, x = q)");
    t.line(&scores, "raw", "matmul(transpose_x = yes, transpose_y = no, x = qh, y = keys)");
    t.line(&scores, "scaled", "mul(x = raw, y = scale)");
    t.line(&scores, "masked", "add(x = scaled, y = mask)");
    t.line(&scores, "weights", "softmax(axis = last, x = masked)");
    let mixed = format!("tensor<fp16, [1, {heads}, {width}, {size}]>");
    t.line(&mixed, "mixed", "matmul(transpose_x = no, transpose_y = yes, x = weights, y = values)");
    t.line(&by_head, "turned", "transpose(perm = turn, x = mixed)");
    t.line(&all, "joined", "reshape(shape = from_heads, x = turned)");
    t.conv("o", "o", "joined", [channels, channels]);
    t.line(&all, "mid", "add(x = x, y = o)");
    t.norm("n2", "mid");
    t.conv("up", "up", "n2", [inner, channels]);
    t.constant("string", "mode", "string(\"TANH_APPROXIMATION\")");
    t.line(&format!("tensor<fp16, [1, {inner}, 1, {width}]>"), "act", "gelu(mode = mode, x = up)");
    t.conv("down", "down", "act", [channels, inner]);
    t.line(&all, "out", "add(x = mid, y = down)");
    let mask = format!("tensor<fp16, [1, 1, {width}, {context}]>");
    t.program(&format!("{cache} keys, {mask} mask, {cache} values, {all} x"), "k, out, v")
}

/// The head: norm and logits.
pub(crate) fn head_text(shape: Shape, vocabulary: usize) -> String {
    let mut t = Text { text: String::new(), shape };
    t.norm("n", "x");
    t.conv("logits", "head", "n", [vocabulary, shape.channels]);
    let (channels, width) = (shape.channels, shape.columns);
    t.program(&format!("tensor<fp16, [1, {channels}, 1, {width}]> x"), "logits")
}
