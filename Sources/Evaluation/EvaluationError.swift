import TensorCore

/// Why a model cannot be evaluated or made to generate as asked.
package enum EvaluationError: ReportableError, Equatable {
    /// A sampling option is out of its range.
    case badSamplingOption(name: String, value: String, expected: String)
    /// Logits from which no token can be chosen; `token` is the first that is not a number, nil where all are
    /// -infinity.
    case unusableLogits(token: Int?)

    /// The loss of some record is NaN or infinite; the records' numbers, from 1, and the first module with such an
    /// output.
    case lossNotFinite(records: ClosedRange<Int>, module: String?)
    /// A prompt is empty or longer than the model's positions.
    case promptLength(tokens: Int, limit: Int)

    package var description: String {
        switch self {
        case .badSamplingOption(let name, let value, let expected):
            "\(name) is \(value); \(expected) is needed"
        case .lossNotFinite(let records, let module):
            "the loss of one of the records \(records.lowerBound) to \(records.upperBound) is not finite; "
                + (module.map { "the first module with a NaN or infinity in its output is \($0)" }
                    ?? "all module outputs are finite")
        case .promptLength(let tokens, let limit):
            "the prompt has \(tokens) tokens; the model takes 1 to \(limit)"
        case .unusableLogits(.some(let token)):
            "the model's logit of token \(token) is not a finite number, so no next token can be chosen"
        case .unusableLogits(nil):
            "the model gives every token the probability 0, so no next token can be chosen"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .badSamplingOption: .usage
        case .promptLength: .badData
        case .unusableLogits, .lossNotFinite: .failedSelfCheck
        }
    }
}
