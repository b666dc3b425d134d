import TensorCore

/// A weight matrix W [outputSize, inputSize] that is never changed. How and where its numbers are stored, and how a
/// product gets at them, is its own affair: models and adapters ask for products and rows, never for an address.
package protocol FrozenMatrix: AnyObject {
    /// Rows of W.
    var outputSize: Int { get }
    /// Columns of W.
    var inputSize: Int { get }
    /// Whether each product decodes the whole of W, so that one over many rows is better than many over few.
    func isDecoded(for products: MatrixProducts, _ dtype: DType) -> Bool

    /// y [tokens, outputSize] = x W' + bias for x [tokens, inputSize]; the bias [outputSize], F32. A failure is recorded
    /// in `products`.
    func multiply(_ x: Tensor, bias: Tensor?, into y: Tensor, _ products: MatrixProducts)

    /// dx [tokens, inputSize] = dy W for dy [tokens, outputSize], or dx += that. A failure is recorded in `products`.
    func multiplyTransposed(_ dy: Tensor, into dx: Tensor, accumulates: Bool, _ products: MatrixProducts)

    /// Rows of W, [rows, inputSize], as products compute with them. May be called from several threads at once.
    func readRows(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>)
}

/// A frozen matrix in a tensor of its own.
package final class DenseMatrix: FrozenMatrix {
    /// [outputSize, inputSize], F32 or BF16.
    package let tensor: Tensor

    /// The matrix in `tensor`.
    package init(_ tensor: Tensor) { self.tensor = tensor }

    package var outputSize: Int { tensor.rows }
    package var inputSize: Int { tensor.columns }

    package func isDecoded(for products: MatrixProducts, _ dtype: DType) -> Bool {
        products.decodes(tensor.dtype, against: dtype)
    }

    package func multiply(_ x: Tensor, bias: Tensor?, into y: Tensor, _ products: MatrixProducts) {
        products.multiply(
            x, tensor, bias: bias, into: y,
            MatrixProducts.Form(
                m: products.roundedRows(x.rows, x, y), n: outputSize, k: inputSize, right: .transposed))
    }

    package func multiplyTransposed(_ dy: Tensor, into dx: Tensor, accumulates: Bool, _ products: MatrixProducts) {
        products.multiplyRows(dy, tensor, .plain, into: dx, n: inputSize, k: outputSize, accumulates: accumulates)
    }

    package func readRows(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        StoredRows(tensor).decode(rows, as: .f32, into: target)
        withExtendedLifetime(tensor) {}
    }
}
