import TensorCore

/// Frozen matrices of one width as one, their rows one behind the other: the same numbers, none copied.
package final class StackedMatrix: FrozenMatrix {
    private let parts: [any FrozenMatrix]
    private let context: ComputeContext
    package let outputSize: Int
    package let inputSize: Int

    /// The matrix of the rows of `parts`, which are as wide as each other.
    package init(_ parts: [any FrozenMatrix], _ context: ComputeContext) {
        precondition(!parts.isEmpty && parts.allSatisfy { $0.inputSize == parts[0].inputSize })
        self.parts = parts
        self.context = context
        outputSize = parts.reduce(0) { $0 + $1.outputSize }
        inputSize = parts[0].inputSize
    }

    package func isDecoded(for products: MatrixProducts, _ dtype: DType) -> Bool {
        parts.contains { $0.isDecoded(for: products, dtype) }
    }

    /// Lends each part a tensor [tokens, rows of the part] for its columns of `whole`.
    private func forEachPart(_ whole: Tensor, _ body: (any FrozenMatrix, _ columns: Int, Tensor) -> Void) {
        var column = 0
        for part in parts {
            body(part, column, context.tensor([whole.rows, part.outputSize], whole.dtype))
            column += part.outputSize
        }
    }

    package func multiply(_ x: Tensor, bias: Tensor?, into y: Tensor, _ products: MatrixProducts) {
        forEachPart(y) { part, column, product in
            part.multiply(x, bias: nil, into: product, products)
            for row in 0..<y.rows {
                y.place(row, column).copyMemory(
                    from: product.place(row), byteCount: part.outputSize * y.dtype.byteCount)
            }
        }
        if let bias { context.addToRows(bias, of: y) }
    }

    package func multiplyTransposed(_ dy: Tensor, into dx: Tensor, accumulates: Bool, _ products: MatrixProducts) {
        forEachPart(dy) { part, column, gradient in
            for row in 0..<dy.rows {
                gradient.place(row).copyMemory(
                    from: dy.place(row, column), byteCount: part.outputSize * dy.dtype.byteCount)
            }
            part.multiplyTransposed(gradient, into: dx, accumulates: accumulates || column > 0, products)
        }
    }

    package func readRows(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        var first = 0
        var place = target
        for part in parts {
            let own = rows.clamped(to: first..<first + part.outputSize)
            if !own.isEmpty {
                part.readRows(own.lowerBound - first..<own.upperBound - first, into: place)
                place += own.count * inputSize
            }
            first += part.outputSize
        }
    }
}
