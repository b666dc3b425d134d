import Compute
import Models
import TensorCore

/// A trainable tensor of an adapter. Value, gradient and whatever an optimizer keeps are F32.
package final class AdapterParameter {
    /// The key in the adapter's file, as peft names it.
    package let name: String
    /// The value.
    package let value: Tensor
    /// The gradient of the current optimizer step's loss, summed over its batches.
    package var gradient: Tensor { ownGradient ?? weight!.gradient }

    private let ownGradient: Tensor?
    private let weight: TrainableWeight?

    /// A parameter with a gradient of zero.
    package init(name: String, value: Tensor, _ context: ComputeContext) {
        self.name = name
        self.value = value
        ownGradient = context.zeros(value.shape, .f32)
        weight = nil
    }

    /// The parameter that a whole weight is.
    package init(name: String, _ weight: TrainableWeight) {
        self.name = name
        value = weight.value
        ownGradient = nil
        self.weight = weight
    }
}

/// The values of a module's frozen weight, [outputSize, inputSize] F32, for an adapter that starts from them.
package typealias BaseWeights = (LinearModule) throws -> [Float]

/// The place in a model where a method is to work, and the tensors that its file has for it.
package struct AdapterSite {
    /// The module's path.
    package let path: String
    /// The frozen layer.
    package let frozen: FrozenLinear
    /// What the adapter is.
    package let configuration: AdapterConfiguration
    /// Type, memory and threads of all computation.
    package let context: ComputeContext
    /// The tensors that the modules of the adapter share.
    package let shared: SharedTensors
    /// The parameter of the module's tensor with this suffix; nil for an optional one that is not there.
    let find: (_ suffix: String) throws -> AdapterParameter?

    /// The parameter of a tensor that every module has.
    package func parameter(_ suffix: String) throws -> AdapterParameter {
        guard let parameter = try find(suffix) else { preconditionFailure("'\(suffix)' is not optional") }
        return parameter
    }
}

/// The update M(x) of one projection: the seam between the gate and the formula. Models, training and transforms know
/// nothing else of a method.
package protocol AdapterMethod: AnyObject {
    /// The tensors of the module at `path`, in the order of the file. What their keys end in is the same at each.
    static func tensorRoles(_ configuration: AdapterConfiguration, of path: String) -> [AdapterTensorRole]

    /// The frozen tensors that all modules share.
    static var sharedRoles: [AdapterTensorRole] { get }

    /// Why an adapter of this configuration cannot be at a module, as a part of a sentence; nil where it can.
    static func obstacle(at module: LinearModule, _ configuration: AdapterConfiguration) -> String?

    /// Whether a merge scales a module's bias by the rows' factors of a `.scaled` change, as the weight.
    static func scalesBias(of module: String, _ configuration: AdapterConfiguration) -> Bool

    /// The tensors of a new adapter at one module, so initialised that M(x) = 0, as peft does it.
    ///
    /// - Parameters:
    ///   - stream: the module's own random numbers.
    ///   - weights: reads the frozen weight; throws what reading throws.
    static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) throws -> [AdapterTensor]

    /// The shared tensors of a new adapter over `modules`.
    static func initialSharedTensors(
        _ modules: [LinearModule], _ configuration: AdapterConfiguration, _ stream: RandomStream
    ) -> [AdapterTensor]

    /// What the adapter makes of a module's weight, which has `inputSize` columns.
    static func weightChange(of module: String, inputSize: Int, in adapter: AdapterDirectory) -> WeightChange

    /// What is done to all modules together after each optimizer step; nil for nothing.
    static func schedule(
        of methods: [any AdapterMethod], _ configuration: AdapterConfiguration, totalSteps: Int,
        _ context: ComputeContext
    ) throws(AdapterError) -> (any AdapterSchedule)?

    /// The method at a site. Throws what the site's tensors throw.
    init(_ site: AdapterSite) throws

    /// What is trained, in the order of the file.
    var parameters: [AdapterParameter] { get }

    /// Whether backward passes add to the parameters' gradients; they do not where the thresholds alone are trained.
    var collectsGradients: Bool { get set }

    /// Doubles that `prepare` needs for itself.
    var preparationScratchCount: Int { get }

    /// Brings what is derived from the parameters up to date: once before the first batch after they changed. Takes no
    /// memory from the pool and touches only this module, so that modules can be prepared side by side. `wantsNorms`
    /// says whether every batch will ask for `norms()`; a batch that asks without being announced pays for itself.
    func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool)

    /// Terms of a penalty on the loss that this module has.
    var penaltyTermCount: Int { get }

    /// Adds the gradient of this module's part of the penalty, the mean over the `termCount` terms of all modules
    /// times the penalty's weight, and gives that part.
    func addPenalty(termCount: Int) -> Double

    /// Starts a batch.
    ///
    /// - Parameters:
    ///   - output: W0 x, [tokens, outputSize], not yet updated, the layer's bias included.
    ///   - input: x, [tokens, inputSize].
    ///   - dropoutKey: which mask to use, or nil for no dropout.
    func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate
}

extension AdapterMethod {
    package static var sharedRoles: [AdapterTensorRole] { [] }

    package static func obstacle(at module: LinearModule, _ configuration: AdapterConfiguration) -> String? { nil }

    package static func scalesBias(of module: String, _ configuration: AdapterConfiguration) -> Bool { false }

    package static func initialSharedTensors(
        _ modules: [LinearModule], _ configuration: AdapterConfiguration, _ stream: RandomStream
    ) -> [AdapterTensor] { [] }

    package static func schedule(
        of methods: [any AdapterMethod], _ configuration: AdapterConfiguration, totalSteps: Int,
        _ context: ComputeContext
    ) throws(AdapterError) -> (any AdapterSchedule)? { nil }

    package var penaltyTermCount: Int { 0 }

    package func addPenalty(termCount: Int) -> Double { 0 }
}

/// M(x) of one batch.
package protocol AdapterUpdate: AnyObject {
    /// |M(x_i)| of each token, [tokens] F32.
    func norms() -> Tensor

    /// z = A x of each token [tokens, rank] F32, where M(x) is linear in such a vector: A's product alone, in the basis
    /// that `LowRankChange` tells for each method; for the sums that merging needs.
    var innerActivations: Tensor? { get }

    /// output_i += M(x_i) for the active tokens; other rows keep every bit. Comes once, after `norms`.
    func apply(to output: Tensor, _ active: ActiveTokens)

    /// The backward pass: adds to the parameters' gradients and to the input's, from active tokens alone.
    ///
    /// - Parameters:
    ///   - gradient: dl/dh, [tokens, outputSize]. What is left in it is taken for dl/d(W0 x), so an update that has
    ///     W0 x in it can add its share there.
    ///   - input: x; its gradient is added to where it needs one.
    ///   - wantsMu: whether mu is asked for.
    /// - Returns: mu_i = <dl/dh_i, M(x_i)> of every token (equation 9 of arXiv 2511.16147), [tokens] F32.
    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor?
}

/// What a method does to all modules together after each optimizer step, such as moving ranks between them.
package protocol AdapterSchedule: AnyObject {
    /// Comes after step `step` (from 0) while its gradients stand; `gradientScale` is what clipping multiplied them by.
    func afterStep(_ step: Int, gradientScale: Double)

    /// Everything that a resumed run needs, as named tensors.
    var state: [AdapterTensor] { get }

    /// Takes up a saved state; false where it is not one of this adapter.
    func restore(_ state: [AdapterTensor]) -> Bool

    /// The rank of each module by its path, where ranks move.
    var ranks: NameTable<Int> { get }

    /// Brings the modules into the form in which they are saved after the last step, and gives the configuration that
    /// goes with it.
    func finish(_ configuration: AdapterConfiguration) throws(AdapterError) -> AdapterConfiguration
}

/// Frozen tensors that the modules of an adapter share, and what methods derive from them.
package final class SharedTensors {
    private let stored: NameTable<Tensor>
    private var derived: NameTable<Tensor> = [:]

    /// Shared tensors by their keys, F32.
    init(_ tensors: [AdapterTensor], _ context: ComputeContext) {
        var stored: NameTable<Tensor> = [:]
        for tensor in tensors {
            let value = context.tensor(tensor.shape, .f32)
            value.copy(from: tensor.values)
            stored[tensor.name] = value
        }
        self.stored = stored
    }

    /// The tensor of a role; it has been checked to be there.
    func tensor(_ key: String) -> Tensor {
        guard let tensor = stored[key] else { preconditionFailure("shared tensor '\(key)' was checked") }
        return tensor
    }

    /// What `make` gave for `key` the first time.
    func derived(_ key: String, _ make: () -> Tensor) -> Tensor {
        if let tensor = derived[key] { return tensor }
        let tensor = make()
        derived[key] = tensor
        return tensor
    }
}
