/// Why a template cannot be read, or its run ended.
enum JinjaError: Error {
    /// The template's own words, from `raise_exception`.
    case refused(String)
    /// What is wrong with the template, or with what it does.
    case failed(String)

    /// The room's error for this.
    var reported: TokenizationError {
        switch self {
        case .refused(let reason): .conversationRefused(reason: reason)
        case .failed(let problem): .unsupportedTemplate(problem: problem)
        }
    }
}
