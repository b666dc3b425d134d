import Compute
import TensorCore

/// How a command computes.
public struct ComputeOptions: Sendable {
    /// The type of activations and frozen weights.
    public enum Precision: String, Sendable, CaseIterable {
        /// BF16 where the processor multiplies it in hardware, F32 elsewhere.
        case auto
        /// 32-bit floating point.
        case f32
        /// 16-bit brain floating point with F32 sums; on processors that do not multiply it, decoded into F32 products.
        case bf16
    }

    /// The asked-for type.
    public var precision = Precision.auto
    /// Threads; nil for one a processor.
    public var threadCount: Int?
    /// The architecture as which a base is computed whose type is not known, such as `qwen3`; nil for the base's own.
    public var architecture: String?

    /// Is told what is worth knowing of a model when it is opened.
    package var note: @Sendable (String) -> Void = { _ in }

    /// Options as given.
    public init(precision: Precision = .auto, threadCount: Int? = nil) {
        self.precision = precision
        self.threadCount = threadCount
    }

    /// The type that is computed in on this processor.
    package var dtype: DType {
        switch precision {
        case .f32: .f32
        case .bf16: .bf16
        case .auto: ProcessorPaths.current.multipliesBF16 ? .bf16 : .f32
        }
    }

    /// More threads than help this machine: a few for each processor, so that results of a larger one can be had again.
    private static var threadLimit: Int { max(32, 4 * ComputeContext.availableThreads) }

    /// A context for these options. Throws `badValue`.
    package func makeContext() throws(WorkflowError) -> ComputeContext {
        if let threadCount, !(1...Self.threadLimit).contains(threadCount) {
            throw .badValue(
                .threads, expected: "between 1 and \(Self.threadLimit)", found: String(threadCount))
        }
        return ComputeContext(dtype: dtype, threadCount: threadCount ?? ComputeContext.availableThreads)
    }
}
