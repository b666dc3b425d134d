import Compute
import TensorCore

/// A trainable tensor of an adapter. Value, gradient and whatever an optimizer keeps are F32.
package final class AdapterParameter {
    /// The key in the adapter's file, as peft names it.
    package let name: String
    /// The value.
    package let value: Tensor
    /// The gradient of the current optimizer step's loss, summed over its batches.
    package let gradient: Tensor

    /// A parameter with a gradient of zero.
    package init(name: String, value: Tensor, _ context: ComputeContext) {
        self.name = name
        self.value = value
        gradient = context.zeros(value.shape, .f32)
    }
}

/// The update M(x) of one projection: the seam between the gate and the formula. Models, training and transforms know
/// nothing else of a method.
package protocol AdapterMethod: AnyObject {
    /// What is trained, in the order of the file.
    var parameters: [AdapterParameter] { get }

    /// Doubles that `prepare` needs for itself.
    var preparationScratchCount: Int { get }

    /// Brings what is derived from the parameters up to date: once before the first batch after they changed. Takes no
    /// memory from the pool and touches only this module, so that modules can be prepared side by side. `wantsNorms`
    /// says whether `norms()` will be asked for.
    func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool)

    /// Starts a batch.
    ///
    /// - Parameters:
    ///   - input: x, [tokens, inputSize].
    ///   - output: W0 x, [tokens, outputSize], not yet updated.
    ///   - dropoutKey: which mask to use, or nil for no dropout.
    func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate
}

/// M(x) of one batch.
package protocol AdapterUpdate: AnyObject {
    /// |M(x_i)| of each token, [tokens] F32.
    func norms() -> Tensor

    /// z = A x of each token [tokens, rank] F32, where M(x) is linear in such a vector: for the sums that merging
    /// needs.
    var innerActivations: Tensor? { get }

    /// output_i += M(x_i) for the active tokens; other rows keep every bit.
    func apply(to output: Tensor, _ active: ActiveTokens)

    /// The backward pass: adds to the parameters' gradients and to the input's, from active tokens alone.
    ///
    /// - Parameters:
    ///   - gradient: dl/dh, [tokens, outputSize].
    ///   - input: x; its gradient is added to where it needs one.
    ///   - wantsMu: whether mu is asked for.
    /// - Returns: mu_i = <dl/dh_i, M(x_i)> of every token (equation 9 of arXiv 2511.16147), [tokens] F32.
    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor?
}
