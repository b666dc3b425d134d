import TensorCore

/// Why a computation could not be made.
package enum ComputeError: ReportableError, Equatable {
    /// oneDNN has no such product here, or could not make it; `product` says the sizes and types.
    case product(String, status: Status, paths: String)

    /// oneDNN's reasons.
    package enum Status: String, Sendable {
        /// There is no such product for this processor.
        case unimplemented
        /// Memory ran out.
        case outOfMemory
        /// Anything else.
        case failed

        fileprivate var words: String {
            switch self {
            case .unimplemented: "does not have it"
            case .outOfMemory: "has no memory for it"
            case .failed: "failed"
            }
        }
    }

    package var description: String {
        switch self {
        case .product(let product, let status, let paths):
            "the matrix product \(product) cannot be computed: oneDNN \(status.words) on \(paths)"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .product(_, .unimplemented, _): .unsupported
        case .product: .failedSelfCheck
        }
    }
}
