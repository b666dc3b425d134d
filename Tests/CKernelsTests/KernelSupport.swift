import CKernels
import Testing

/// Sizes around the widths of vectors and of the kernels' blocks.
let oddSizes = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 577]

/// A level of the kernels: its number and its functions.
struct KernelLevel: CustomTestStringConvertible, @unchecked Sendable {
    let number: Int
    let kernels: tspeft_kernel_table
    var testDescription: String { ["plain", "AVX2", "AVX-512"][number] }

    static let plain = KernelLevel(number: 0, kernels: tspeft_kernels_at(0)!.pointee)
    /// The levels with vectors that this processor has.
    static let vectors = (1...2).compactMap { level in
        tspeft_kernels_at(Int32(level)).map { KernelLevel(number: level, kernels: $0.pointee) }
    }
    static let all = [plain] + vectors
}
