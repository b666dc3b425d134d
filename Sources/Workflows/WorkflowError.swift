import TensorCore

/// Why a command cannot do what it was asked to.
package enum WorkflowError: WordedError, Equatable {
    /// A parameter's value cannot be.
    case badValue(Parameter, expected: String, found: String)
    /// Parameters that contradict each other or the inputs.
    case conflict(Wording)
    /// A method's option, by its key, that was given for a method that lacks it; the methods that have it.
    case foreignOption(String, owners: [String], method: String)
    /// Two options, by their keys, that are names of one number and were given different values.
    case twoNames(String, value: String, other: String, otherValue: String)
    /// A word that is none of the known ones.
    case unknownName(what: String, found: String, known: [String])
    /// A file or directory that should be there is not.
    case missing(path: String, what: Wording)
    /// An output exists and may not be replaced.
    case outputExists(String, remedy: Wording)
    /// An output cannot be made.
    case cannotCreate(String, reason: String)
    /// The data has nothing for what was asked.
    case unsuitableData(path: String, problem: Wording)
    /// A conversation has more tokens than the model has positions.
    case conversationTooLong(tokens: Int, limit: Int)
    /// A run's saved inputs are not those of now.
    case resumeMismatch(path: String, what: String, saved: String, given: String)
    /// A run that replaces another ended early, for a cause; the other one is still where it was put aside.
    case unfinishedReplacement(cause: Wording, status: ExitStatus, aside: String)
    /// A name or pattern selects nothing of what is at `path`.
    case matchesNothing(path: String, what: String, reason: String?, nearest: [String])
    /// A value of a parameter that selects nothing of what it is to select from.
    case selectsNothing(Parameter, value: String, reason: String, nearest: [String])
    /// A signal asked for an end before there was a result.
    case interrupted(String)
    /// Sound, but more than this program can do.
    case unsupported(Wording)
    /// The disk has no room for the output; both in bytes.
    case doesNotFit(path: String, needed: Int, available: Int)
    /// The machine has no memory for making the output; both in bytes.
    case doesNotFitMemory(path: String, needed: Int, available: Int)
    /// The program's own result fails a check.
    case failedCheck(String)

    package var wording: Wording {
        switch self {
        case .badValue(let parameter, let expected, let found): "\(parameter) must be \(expected), not \(found)"
        case .conflict(let text): text
        case .foreignOption(let key, let owners, let method):
            "\(.methodOption(key)) belongs to \(owners.joined(separator: " and ")), not to \(method)"
        case .twoNames(let key, let value, let other, let otherValue):
            "\(.methodOption(key), value) and \(.methodOption(other), otherValue) are two names of one number"
        case .unknownName(let what, let found, let known):
            "unknown \(what) '\(found)'; known: \(known.joined(separator: ", "))"
        case .missing(let path, let what): "\(path): \(what)"
        case .outputExists(let path, let remedy): "\(path) exists; \(remedy)"
        case .cannotCreate(let path, let reason): "\(path): cannot be created: \(reason)"
        case .unsuitableData(let path, let problem): "\(path): \(problem)"
        case .conversationTooLong(let tokens, let limit):
            "the conversation has \(tokens) tokens now, and the model takes \(limit)"
        case .resumeMismatch(let path, let what, let saved, let given):
            "\(path): cannot resume: \(what) was \(saved) and is now \(given)"
        case .unfinishedReplacement(let cause, _, let aside):
            "\(cause); the run that it replaces is kept in \(aside) until it is done"
        case .matchesNothing(let path, let what, let reason, let nearest):
            "\(path): \(what) matches nothing" + (reason.map { ": \($0)" } ?? "")
                + (nearest.isEmpty ? "" : "; nearest: \(nearest.joined(separator: ", "))")
        case .selectsNothing(let parameter, let value, let reason, let nearest):
            "\(parameter, value) \(reason)" + (nearest.isEmpty ? "" : "; nearest: \(nearest.joined(separator: ", "))")
        case .doesNotFit(let path, let needed, let available):
            "\(path): would need \(needed) bytes, but the disk has room for \(available)"
        case .doesNotFitMemory(let path, let needed, let available):
            "\(path): would need about \(needed) bytes of memory, but \(available) are available"
        case .interrupted(let text), .failedCheck(let text): Wording(text)
        case .unsupported(let text): text
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .badValue, .conflict, .foreignOption, .twoNames, .unknownName: .usage
        case .missing: .missingInput
        case .outputExists, .cannotCreate: .cannotCreate
        case .unsuitableData, .conversationTooLong, .resumeMismatch, .matchesNothing, .selectsNothing: .badData
        case .unfinishedReplacement(_, let status, _): status
        case .interrupted: .interrupted
        case .unsupported: .unsupported
        case .failedCheck: .failedSelfCheck
        case .doesNotFit, .doesNotFitMemory: .inputOutput
        }
    }
}
