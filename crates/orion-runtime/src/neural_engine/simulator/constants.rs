//! Constants of programs in the forms that kernels read. Those from files are held once, whatever programs read them: the store
//! of a device knows them by their content. A program knows its own by the place in the text's files, so that one that is made
//! of it takes over what was not exchanged.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use orion_compiler::mil::blob::{BlobFile, BlobType};
use orion_compiler::mil::raise::{self, Files};
use orion_compiler::mil::syntax::Value;
use orion_compiler::{DType, Diagnostic, Tensor, TensorType};
use orion_kernels::pool::Pool;
use orion_kernels::{MatrixSource, PackedMatrix, WeightFormat};
use xxhash_rust::xxh3::xxh3_128;

use crate::neural_engine::BlobFiles;

/// A form of a constant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Form {
    /// All numbers, row by row.
    Dense(String),
    /// Rows of a matrix, packed.
    Matrix {
        /// Whether numbers are kept in f32 and not in f16.
        is_wide: bool,
        /// The first row in the constant.
        first: usize,
        /// How many rows.
        rows: usize,
        /// Numbers of a row.
        columns: usize,
        /// Whether a stored row is a column.
        is_transposed: bool,
    },
}

/// A constant in a form.
#[derive(Clone)]
pub(super) enum Constant {
    Dense(Arc<Vec<f32>>),
    Matrix(Arc<PackedMatrix>),
}

enum WeakConstant {
    Dense(Weak<Vec<f32>>),
    Matrix(Weak<PackedMatrix>),
}

impl Constant {
    fn downgrade(&self) -> WeakConstant {
        match self {
            Self::Dense(numbers) => WeakConstant::Dense(Arc::downgrade(numbers)),
            Self::Matrix(matrix) => WeakConstant::Matrix(Arc::downgrade(matrix)),
        }
    }
}

impl WeakConstant {
    fn upgrade(&self) -> Option<Constant> {
        match self {
            Self::Dense(numbers) => numbers.upgrade().map(Constant::Dense),
            Self::Matrix(matrix) => matrix.upgrade().map(Constant::Matrix),
        }
    }
}

/// Constants of all programs of a device, by content. Nothing is kept alive that no program uses.
#[derive(Default)]
pub(super) struct ConstantStore {
    known: Mutex<HashMap<(u128, Form), WeakConstant>>,
}

impl ConstantStore {
    /// The constant of these bytes in this form: a known one, or what `make` gives.
    fn share(
        &self,
        bytes: &[u8],
        form: &Form,
        make: impl FnOnce() -> Result<Constant, Diagnostic>,
    ) -> Result<Constant, Diagnostic> {
        let key = (xxh3_128(bytes), form.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(constant) = known.get(&key).and_then(WeakConstant::upgrade) {
            return Ok(constant);
        }
        let made = make()?;
        // What nobody uses any more is forgotten now and then.
        if known.len().is_power_of_two() {
            known.retain(|_, constant| constant.upgrade().is_some());
        }
        known.insert(key, made.downgrade());
        Ok(made)
    }
}

/// Where a constant of a program comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A file, at the offset of a descriptor.
    File(String, u64),
    /// Computed when the program is compiled, for a name of a function.
    Computed(usize, String),
}

/// A constant of a program, and the files that it depends on.
#[derive(Clone)]
struct Held {
    constant: Constant,
    paths: Vec<String>,
}

/// All constants of a program.
#[derive(Clone, Default)]
pub(super) struct ConstantTable {
    held: BTreeMap<(Origin, Form), Held>,
}

impl ConstantTable {
    /// Paths of files that the program reads.
    pub(super) fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> =
            self.held.values().flat_map(|held| &held.paths).map(String::as_str).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}

/// Constants of a program that is being made.
pub(super) struct Constants<'a> {
    /// Files that are given now.
    files: &'a BlobFiles,
    /// The program that it is made of, if it is a patch.
    donor: Option<&'a ConstantTable>,
    store: &'a ConstantStore,
    pool: &'a Pool,
    table: ConstantTable,
}

impl<'a> Constants<'a> {
    pub(super) fn new(
        files: &'a BlobFiles,
        donor: Option<&'a ConstantTable>,
        store: &'a ConstantStore,
        pool: &'a Pool,
    ) -> Self {
        Self { files, donor, store, pool, table: ConstantTable::default() }
    }

    pub(super) fn into_table(self) -> ConstantTable {
        self.table
    }

    /// Files that are given now.
    pub(super) fn files(&self) -> &'a BlobFiles {
        self.files
    }

    /// The constant of an origin in a form; `paths` are the files that it depends on.
    fn get(
        &mut self,
        origin: Origin,
        form: &Form,
        paths: Vec<String>,
        make: impl FnOnce(&Self) -> Result<Constant, Diagnostic>,
    ) -> Result<Constant, Diagnostic> {
        let key = (origin, form.clone());
        if let Some(held) = self.table.held.get(&key) {
            return Ok(held.constant.clone());
        }
        let is_given = |path: &String| self.files.bytes(path).is_some();
        let kept = self.donor.and_then(|donor| donor.held.get(&key));
        let constant = match kept.filter(|_| !paths.iter().any(is_given)) {
            Some(held) => held.constant.clone(),
            None => make(self)?,
        };
        self.table.held.insert(key, Held { constant: constant.clone(), paths });
        Ok(constant)
    }

    /// All numbers of a constant value as `ty`.
    pub(super) fn dense(
        &mut self,
        value: &Value<'_>,
        ty: &TensorType,
    ) -> Result<Arc<Vec<f32>>, Diagnostic> {
        let Some((path, offset)) = raise::constant_place(value) else {
            return Ok(Arc::new(numbers(&raise::constant_tensor(value, self.files)?)));
        };
        let form = &Form::Dense(ty.to_string());
        let origin = Origin::File(path.clone(), offset);
        let constant = self.get(origin, form, vec![path.clone()], |own| {
            let make = || {
                let tensor = raise::constant_tensor(value, own.files)?;
                Ok(Constant::Dense(Arc::new(numbers(&tensor))))
            };
            match stored(own.files, &path, offset, ty)? {
                Some(bytes) => own.store.share(bytes, form, make),
                None => make(),
            }
        })?;
        dense_of(constant)
    }

    /// All numbers of what is computed for a name of a function, from the files `paths`.
    pub(super) fn computed(
        &mut self,
        function: usize,
        name: &str,
        paths: Vec<String>,
        make: impl FnOnce(&BlobFiles) -> Result<Tensor, Diagnostic>,
    ) -> Result<Arc<Vec<f32>>, Diagnostic> {
        let origin = Origin::Computed(function, name.to_owned());
        let constant = self.get(origin, &Form::Dense(String::new()), paths, |own| {
            Ok(Constant::Dense(Arc::new(numbers(&make(own.files)?))))
        })?;
        dense_of(constant)
    }

    /// Rows of a matrix that a constant in a file is, packed; `None` when its numbers are of another type than `ty`'s.
    pub(super) fn matrix(
        &mut self,
        value: &Value<'_>,
        ty: &TensorType,
        form: &Form,
    ) -> Result<Option<Arc<PackedMatrix>>, Diagnostic> {
        let Some((path, offset)) = raise::constant_place(value) else { return Ok(None) };
        let format = match ty.dtype {
            DType::F16 => WeightFormat::F16,
            DType::F32 => WeightFormat::F32,
            _ => return Ok(None),
        };
        let origin = Origin::File(path.clone(), offset);
        let constant = self.get(origin, form, vec![path.clone()], |own| {
            let bytes = stored(own.files, &path, offset, ty)?.unwrap_or_default();
            let pool = own.pool;
            own.store.share(bytes, form, || pack(pool, format, bytes, form))
        })?;
        Ok(Some(matrix_of(constant)?))
    }

    /// Rows of a matrix, packed, of numbers that were computed for a name of a function.
    pub(super) fn matrix_of_numbers(
        &mut self,
        function: usize,
        name: &str,
        numbers: &[f32],
        form: &Form,
    ) -> Result<Arc<PackedMatrix>, Diagnostic> {
        let pool = self.pool;
        let origin = Origin::Computed(function, name.to_owned());
        // It is packed anew each time that its numbers are: they are in the table under another form.
        let paths = self.table.held.get(&(origin.clone(), Form::Dense(String::new())));
        let paths = paths.map(|held| held.paths.clone()).unwrap_or_default();
        let constant = self.get(origin, form, paths, |_| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            pack(pool, WeightFormat::F32, &bytes, form)
        })?;
        matrix_of(constant)
    }
}

fn dense_of(constant: Constant) -> Result<Arc<Vec<f32>>, Diagnostic> {
    match constant {
        Constant::Dense(numbers) => Ok(numbers),
        Constant::Matrix(_) => Err(Diagnostic::new("RUN030", "a matrix where numbers are wanted")),
    }
}

fn matrix_of(constant: Constant) -> Result<Arc<PackedMatrix>, Diagnostic> {
    match constant {
        Constant::Matrix(matrix) => Ok(matrix),
        Constant::Dense(_) => Err(Diagnostic::new("RUN030", "numbers where a matrix is wanted")),
    }
}

fn pack(
    pool: &Pool,
    stored: WeightFormat,
    bytes: &[u8],
    form: &Form,
) -> Result<Constant, Diagnostic> {
    let Form::Matrix { is_wide, first, rows, columns, is_transposed } = *form else {
        return Err(Diagnostic::new("RUN030", "no form of a matrix"));
    };
    let size = stored.row_bytes(1).unwrap_or(1);
    let refuse = || Diagnostic::new("MIL034", format!("{} bytes for a matrix", bytes.len()));
    let part = if is_transposed {
        bytes
    } else {
        let row = columns.checked_mul(size).ok_or_else(refuse)?;
        let range = first.checked_mul(row).zip(rows.checked_mul(row));
        let range = range.and_then(|(start, length)| Some(start..start.checked_add(length)?));
        range.and_then(|range| bytes.get(range)).ok_or_else(refuse)?
    };
    let source = MatrixSource {
        format: stored,
        rows,
        columns,
        bytes: part,
        transposed: is_transposed,
        row_order: None,
        release: None,
    };
    let target = if is_wide { WeightFormat::F32 } else { WeightFormat::F16 };
    let matrix = PackedMatrix::pack(pool, target, &source)
        .map_err(|error| Diagnostic::new("MIL034", error.to_string()))?;
    Ok(Constant::Matrix(Arc::new(matrix)))
}

/// The bytes of a constant of real numbers in a file; `None` for other types.
fn stored<'b>(
    files: &'b BlobFiles,
    path: &str,
    offset: u64,
    ty: &TensorType,
) -> Result<Option<&'b [u8]>, Diagnostic> {
    let wanted = match ty.dtype {
        DType::F16 => BlobType::F16,
        DType::F32 => BlobType::F32,
        _ => return Ok(None),
    };
    let refuse = |message: String| Diagnostic::new("MIL034", message);
    let bytes = files.bytes(path).ok_or_else(|| refuse(format!("there is no file `{path}`")))?;
    let blob = BlobFile::open(bytes).and_then(|file| file.at(offset));
    let blob = blob.map_err(|error| refuse(format!("{path}: {error}")))?;
    if blob.ty != wanted {
        let message =
            format!("{path}: at {offset} are numbers of {}, the text says {wanted}", blob.ty);
        return Err(refuse(message));
    }
    let length = wanted.bytes_of(ty.elements());
    let data = length.and_then(|length| blob.data.get(..length)).ok_or_else(|| {
        let (found, elements) = (blob.elements(), ty.elements());
        refuse(format!("{path}: at {offset} are {found} numbers, the text says {elements}"))
    })?;
    Ok(Some(data))
}

/// A tensor's numbers; truth values are 0 and 1.
pub(super) fn numbers(tensor: &Tensor) -> Vec<f32> {
    match tensor.ty().dtype {
        DType::I32 => tensor.ints().iter().map(|&x| x as f32).collect(),
        DType::Bool => tensor.bools().iter().map(|&x| f32::from(u8::from(x))).collect(),
        _ => tensor.to_f32(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Programs with the same constants hold them once, and nobody holds them when the programs are gone.
    #[test]
    fn equal_bytes_are_made_once_while_somebody_holds_them() {
        let (store, made) = (ConstantStore::default(), Cell::new(0));
        let form = Form::Dense("[4]f16".to_owned());
        let share = |bytes: &[u8]| {
            let make = || {
                made.set(made.get() + 1);
                Ok(Constant::Dense(Arc::new(vec![1.0; 4])))
            };
            dense_of(store.share(bytes, &form, make).unwrap()).unwrap()
        };
        let (first, second, other) = (share(&[1; 8]), share(&[1; 8]), share(&[2; 8]));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        assert_eq!(made.get(), 2);
        drop((first, second));
        share(&[1; 8]);
        assert_eq!(made.get(), 3);
    }
}
