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
    /// A chat template was asked for that the model has not, under the names `known`, and that is no file.
    case noSuchTemplate(model: String, wanted: String, known: [String])
    /// The chat template refuses the conversation, in its own words.
    case conversationRefused(reason: String)

    package var description: String {
        switch self {
        case .missing(let path, let remedy): "\(path): no tokenizer is there; \(remedy)"
        case .malformed(let file, let problem): "\(file): \(problem)"
        case .unsupported(let file, let feature): "\(file): \(feature) is not supported"
        case .unsupportedTemplate(let problem): "the model's chat template cannot be used: \(problem)"
        case .noSuchTemplate(let model, let wanted, let known):
            "\(model): the model has no chat template '\(wanted)', and there is no such file; "
                + (known.isEmpty ? "it has none" : "it has \(known.joined(separator: ", "))")
        case .conversationRefused(let reason): "the model's chat template refuses the conversation: \(reason)"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .missing: .missingInput
        case .malformed, .conversationRefused: .badData
        case .noSuchTemplate: .usage
        case .unsupported, .unsupportedTemplate: .unsupported
        }
    }
}
