import TensorCore

/// Why a tokenizer cannot be used, or a conversation cannot be written in its template.
package enum TokenizationError: ReportableError, Equatable {
    /// `path` has no tokenizer; `remedy` says what would help.
    case missing(path: String, remedy: String)
    /// `file` is not what it claims to be.
    case malformed(file: String, problem: String)
    /// `file` asks for something that this program does not do.
    case unsupported(file: String, feature: String)
    /// The model's chat template is none that this program can write.
    case unsupportedTemplate(problem: String)
    /// The chat template refuses the conversation, in its own words.
    case conversationRefused(reason: String)

    package var description: String {
        switch self {
        case .missing(let path, let remedy): "\(path): no tokenizer is there; \(remedy)"
        case .malformed(let file, let problem): "\(file): \(problem)"
        case .unsupported(let file, let feature): "\(file): \(feature) is not supported"
        case .unsupportedTemplate(let problem): "the model's chat template cannot be used: \(problem)"
        case .conversationRefused(let reason): "the model's chat template refuses the conversation: \(reason)"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .missing: .missingInput
        case .malformed, .conversationRefused: .badData
        case .unsupported, .unsupportedTemplate: .unsupported
        }
    }
}
