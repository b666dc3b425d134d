import TensorCore

/// A value in a computation and the sum of the gradients that the backward pass adds to it.
///
/// A view of a variable is a variable whose value and gradient are parts of the other's.
package final class Variable {
    /// The value, [tokens, width].
    package let value: Tensor
    /// Whether the backward pass has business here. False for anything that only the frozen base led to.
    package private(set) var needsGradient: Bool
    /// Where the gradient gathers. A backward pass that has no use for the value holds this alone, so that the value
    /// can go when the forward pass is done with it.
    package let gradientSum: GradientSum

    /// A variable with `value`.
    package init(_ value: Tensor, needsGradient: Bool) {
        self.value = value
        self.needsGradient = needsGradient
        gradientSum = GradientSum(shape: value.shape, dtype: value.dtype)
    }

    private init(_ part: TensorPart, of whole: Variable) {
        value = part.part(of: whole.value)
        needsGradient = whole.needsGradient
        gradientSum = GradientSum(part, of: whole.gradientSum, shape: value.shape)
    }

    /// The same elements in another shape, such as [tokens, heads * size] by heads as [tokens * heads, size]; the
    /// value has no gaps.
    package func reshaped(_ shape: [Int]) -> Variable { Variable(.shape(shape), of: self) }

    /// Some of the rows.
    package func rows(_ range: Range<Int>) -> Variable { Variable(.rows(range), of: self) }

    /// Some of the columns.
    package func columns(_ range: Range<Int>) -> Variable { Variable(.columns(range), of: self) }

    /// Columns in groups of these widths, which add up to all of them, from left to right.
    package func split(_ widths: [Int]) -> [Variable] {
        precondition(widths.reduce(0, +) == value.columns, "columns \(widths) of \(value.shape)")
        var start = 0
        return widths.map { width in
            defer { start += width }
            return columns(start..<start + width)
        }
    }

    /// Says that something trainable has been added to the value in place. Must come before the value is used further
    /// or viewed.
    package func requireGradient() {
        needsGradient = true
    }

    /// The gradient, of the value's shape and type; nil where nothing has been added yet.
    package var gradient: Tensor? { gradientSum.tensor }

    /// Lets `write` add to the gradient; see `GradientSum.add`.
    package func addGradient(_ context: ComputeContext, _ write: (_ gradient: Tensor, _ accumulates: Bool) -> Void) {
        gradientSum.add(context, write)
    }
}

/// A part of a tensor that a view shows.
private enum TensorPart {
    case shape([Int])
    case rows(Range<Int>)
    case columns(Range<Int>)
}

extension TensorPart {
    fileprivate func part(of tensor: Tensor) -> Tensor {
        switch self {
        case .shape(let shape): tensor.reshaped(shape)
        case .rows(let range): tensor.rows(range)
        case .columns(let range): tensor.columns(range)
        }
    }

    /// Whether the part is the whole.
    fileprivate var isWhole: Bool {
        if case .shape = self { true } else { false }
    }
}

/// The sum of the gradients of one variable: empty until the backward pass has reached it.
package final class GradientSum {
    private let shape: [Int]
    private let dtype: DType
    /// For a view the sum that this one is a part of; such a sum holds nothing itself.
    private let whole: (sum: GradientSum, part: TensorPart)?
    private var stored: Tensor?

    init(shape: [Int], dtype: DType) {
        self.shape = shape
        self.dtype = dtype
        whole = nil
    }

    fileprivate init(_ part: TensorPart, of sum: GradientSum, shape: [Int]) {
        self.shape = shape
        dtype = sum.dtype
        whole = (sum, part)
    }

    /// The sum; nil where nothing has been added yet.
    package var tensor: Tensor? {
        guard let whole else { return stored }
        return whole.sum.tensor.map(whole.part.part)
    }

    /// Lets `write` add to the sum. `write` is handed the sum and whether it holds something already: if so it adds, if
    /// not it overwrites every element. For a view's sum there may be gaps between the rows.
    package func add(_ context: ComputeContext, _ write: (_ gradient: Tensor, _ accumulates: Bool) -> Void) {
        if let whole {
            whole.sum.add(context) { gradient, accumulates in
                if !accumulates, !whole.part.isWhole { gradient.clear() }
                write(whole.part.part(of: gradient), accumulates || !whole.part.isWhole)
            }
        } else if let stored {
            write(stored, true)
        } else {
            let fresh = context.tensor(shape, dtype)
            write(fresh, false)
            stored = fresh
        }
    }

    /// Adds `tensor`, F32 or BF16, which its owner gives away: it becomes the sum where it can.
    package func add(_ context: ComputeContext, giving tensor: Tensor) {
        precondition(tensor.shape == shape)
        if let whole, whole.part.isWhole, tensor.isContiguous {
            whole.sum.add(context, giving: tensor.reshaped(whole.sum.shape))
        } else if whole == nil, stored == nil, tensor.dtype == dtype, tensor.isContiguous {
            stored = tensor
        } else {
            add(context, copying: tensor)
        }
    }

    /// Adds `tensor`, F32 or BF16, rounded to the sum's type where it is the first.
    package func add(_ context: ComputeContext, copying tensor: Tensor) {
        precondition(tensor.shape == shape)
        add(context) { gradient, accumulates in
            if accumulates {
                context.add(tensor, to: gradient)
            } else {
                context.convert(tensor, into: gradient)
            }
        }
    }

    /// Gives the sum away; for a variable that is no view.
    package func take() -> Tensor? {
        precondition(whole == nil, "a view's gradient is its whole's")
        defer { stored = nil }
        return stored
    }
}
