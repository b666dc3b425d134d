import TensorCore

/// A tensor of a base by its own name and shape.
package struct NamedShape: Sendable, Equatable {
    /// Hugging Face's names; of a GGUF file, the Hugging Face names that its tensors stand for.
    package let name: String
    /// Sizes, row-major.
    package let shape: [Int]

    /// A tensor; see the properties.
    package init(name: String, shape: [Int]) {
        self.name = name
        self.shape = shape
    }
}

/// The part of a base's tensor that holds a module's matrix [outputSize, inputSize], or some rows of it.
///
/// Of the module's matrix every `rowStep`-th row of `rows` lies here. The i-th of them, at a column c, is element
/// (`offset` + i `step`, c) of the file's matrix, or (c, `offset` + i `step`) where it is transposed. The file's matrix
/// is the whole tensor (a convolution's seen as [out, in * k...]), or `[expert]` of a packed one.
package struct MatrixPlace: Sendable, Equatable {
    /// The base's tensor.
    package let tensor: String
    /// Index on the first axis of a packed [experts, ...] tensor; nil: the tensor as a whole.
    package let expert: Int?
    /// Whether the file holds [in, out].
    package let isTransposed: Bool
    /// Rows of the module's matrix [out, in] that lie here, all of them or one in `rowStep`, the first among them.
    package let rows: Range<Int>
    /// 1; 2 where the module's rows alternate between two tensors.
    package var rowStep = 1
    /// The row (the column, where transposed) of the file's matrix where the first of them lies.
    package let offset: Int
    /// How far apart they lie: 1; 2 where another module's lie between them.
    package var step = 1

    /// Rows that lie here.
    package var count: Int { (rows.count + rowStep - 1) / rowStep }
    /// These rows of the module's matrix, in their order.
    package var ownRows: StrideTo<Int> { stride(from: rows.lowerBound, to: rows.upperBound, by: rowStep) }

    /// Whether it and another place in the same tensor have an element in common.
    package func overlaps(_ other: MatrixPlace) -> Bool { expert == other.expert && meets(other) }

    /// Whether it is that part of its matrix which another place is of its own.
    package func hasPart(of other: MatrixPlace) -> Bool {
        offset == other.offset && step == other.step && count == other.count
    }

    /// Whether it has rows in common with another place, if their matrices were one.
    package func meets(_ other: MatrixPlace) -> Bool {
        let (end, otherEnd) = (offset + (count - 1) * step, other.offset + (other.count - 1) * other.step)
        guard offset <= otherEnd, other.offset <= end else { return false }
        return step != other.step || (offset - other.offset) % step == 0
    }

    /// A place; see the properties.
    package init(tensor: String, expert: Int? = nil, isTransposed: Bool = false, rows: Range<Int>, offset: Int = 0) {
        self.tensor = tensor
        self.expert = expert
        self.isTransposed = isTransposed
        self.rows = rows
        self.offset = offset
    }

    package static func == (left: MatrixPlace, right: MatrixPlace) -> Bool {
        left.tensor.hasSameBytes(as: right.tensor) && left.expert == right.expert
            && left.isTransposed == right.isTransposed && left.rows == right.rows && left.offset == right.offset
    }
}

/// What an adapter's update is added to, by the adapter's name for it.
package enum AdaptedMatrix: Sendable, Hashable {
    /// A linear layer or a `Conv1D`: the tensor `weight` of the module, or `in_proj_weight` of a MultiheadAttention.
    case linear(path: String)
    /// An embedding [vocabulary, width]: the update's output size is the vocabulary, its input size the width.
    case embedding(path: String)
    /// A convolution [out, in, k...], seen as [out, in * k...]: the update's input size is in * k...
    case convolution(path: String)
    /// What peft's `target_parameters` adapts: packed experts [expertCount, ...], or with one expert a parameter that is a
    /// matrix, such as a router's. `name` is the parameter's within `module`; nil where the adapter does not tell.
    case parameter(module: String, name: String?, expertCount: Int)

    /// The module's path.
    package var path: String {
        switch self {
        case .linear(let path), .embedding(let path), .convolution(let path), .parameter(let path, _, _): path
        }
    }
}

/// A matrix that an adapter updates, with the sizes of the update (per expert).
package struct SizedMatrix: Sendable, Hashable {
    /// What is updated.
    package let matrix: AdaptedMatrix
    /// Rows of the update.
    package let outputSize: Int
    /// Columns of the update.
    package let inputSize: Int

    /// A matrix with the sizes of its update.
    package init(_ matrix: AdaptedMatrix, outputSize: Int, inputSize: Int) {
        self.matrix = matrix
        self.outputSize = outputSize
        self.inputSize = inputSize
    }
}

/// Where a value goes that an adapter saved whole.
package enum SavedPlace: Sendable, Equatable {
    /// In the place of this tensor of the base.
    case existing(String)
    /// The base has no such tensor, since its head is its embedding: `head` is what a head of its own would be called
    /// beside the base's names, `embedding` the base's tensor.
    case tied(head: String, embedding: String)
    /// The base has no such tensor and it takes the place of none (a classifier): it is to be written under this name.
    case new(String)
}
