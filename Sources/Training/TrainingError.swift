import TensorCore

/// Why training cannot start or go on.
package enum TrainingError: WordedError, Equatable {
    /// The data has no example.
    case noExamples(String)
    /// A setting that cannot be.
    case badSetting(Parameter, expected: String, found: String)
    /// Thresholds alone are to be trained, of an adapter that has none.
    case noThresholds(method: String)
    /// The loss or a gradient is NaN or infinite in a run that computes in `dtype`.
    case notFinite(what: String, step: Int, module: String?, dtype: DType)
    /// A threshold has become NaN or infinite.
    case thresholdNotFinite(step: Int, module: String, gradient: Double)
    /// A saved state belongs to a run with other settings or data.
    case stateMismatch(path: String, what: String, saved: String, given: String)
    /// A saved state is not whole.
    case badState(path: String, problem: String)
    /// A signal asked for an end; the state was saved where there is a place for it.
    case interrupted(step: Int, savedAt: String?)

    package var wording: Wording {
        switch self {
        case .noExamples(let path): "\(path): no examples to train on"
        case .badSetting(let parameter, let expected, let found): "\(parameter) must be \(expected), not \(found)"
        case .noThresholds(let method):
            "\(.thresholdsOnly, true) is for a gated adapter; \(method) has no thresholds"
        case .notFinite(let what, let step, let module, let dtype):
            "step \(step): \(what) is not finite"
                + (module.map { "; the first module with a NaN or infinity in its output is \($0)" }
                    ?? "; all module outputs are finite" as Wording)
                + "; try a smaller learning rate"
                + (dtype == .f32 ? "" : ", or computing in F32 rather than \(dtype.rawValue)")
        case .thresholdNotFinite(let step, let module, let gradient):
            "step \(step): tau of \(module) is not finite (its gradient estimate g is \(gradient)); "
                + "try a smaller \(.thresholdStep) or \(.lambda)"
        case .stateMismatch(let path, let what, let saved, let given):
            "\(path): cannot resume: \(what) was \(saved) and is now \(given)"
        case .badState(let path, let problem): "\(path): cannot resume: \(problem)"
        case .interrupted(let step, let saved):
            "interrupted after step \(step)"
                + (saved.map { "; continue with \(.resumes, true) (state in \($0))" } ?? "" as Wording)
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .noExamples, .stateMismatch, .badState: .badData
        case .badSetting, .noThresholds: .usage
        case .notFinite, .thresholdNotFinite: .failedSelfCheck
        case .interrupted: .interrupted
        }
    }
}
