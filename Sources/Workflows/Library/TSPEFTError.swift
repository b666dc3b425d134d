import TensorCore

/// Why a function of this library could not do what it was asked to: the kind of reason, for programs, and one sentence
/// for people.
///
/// The sentence names the file, tensor or property, what was expected and what was found, and the remedy where there is
/// one; properties of requests stand in it as `name: value`. Nothing is left half written: see `docs/library.md`.
public struct TSPEFTError: Error, CustomStringConvertible, Equatable {
    /// What kind of reason it was. The program `tspeft` ends with the exit code that is given with each.
    public enum Kind: String, Sendable, CaseIterable {
        /// A property of the request cannot be, or properties contradict each other (64).
        case usage
        /// An input is malformed, or inputs do not belong together, such as an adapter and another base (65).
        case badData
        /// An input does not exist or cannot be opened (66).
        case missingInput
        /// The inputs are sound, but this version cannot do that with them (69).
        case unsupported
        /// The result failed its own check, such as a loss that is not finite (70).
        case failedCheck
        /// An output cannot be created, or exists and was not to be replaced (73).
        case cannotCreate
        /// Reading or writing failed: a full disk, a device error, a base that was written to meanwhile (74).
        case inputOutput
        /// The caller's `shouldStop` asked for an end; a training run can be gone on with (130).
        case interrupted
    }

    /// The kind of reason.
    public let kind: Kind
    /// The sentence, without a full stop.
    public let message: String
    /// What was thrown inside.
    package let cause: any Error

    /// The error for what a room has thrown.
    package init(_ error: any Error) {
        if let own = error as? TSPEFTError {
            self = own
            return
        }
        kind = (error as? any ReportableError).map { Kind($0.exitStatus) } ?? .failedCheck
        message = "\(error)"
        cause = error
    }

    /// The same as `message`.
    public var description: String { message }

    /// Whether kind and sentence are the same.
    public static func == (left: TSPEFTError, right: TSPEFTError) -> Bool {
        left.kind == right.kind && left.message == right.message
    }
}

extension TSPEFTError: WordedError {
    package var wording: Wording { Wording(cause) }

    package var exitStatus: ExitStatus {
        switch kind {
        case .usage: .usage
        case .badData: .badData
        case .missingInput: .missingInput
        case .unsupported: .unsupported
        case .failedCheck: .failedSelfCheck
        case .cannotCreate: .cannotCreate
        case .inputOutput: .inputOutput
        case .interrupted: .interrupted
        }
    }
}

extension TSPEFTError.Kind {
    fileprivate init(_ status: ExitStatus) {
        self =
            switch status {
            case .usage: .usage
            case .badData: .badData
            case .missingInput: .missingInput
            case .unsupported: .unsupported
            case .failedSelfCheck: .failedCheck
            case .cannotCreate: .cannotCreate
            case .inputOutput: .inputOutput
            case .interrupted: .interrupted
            }
    }
}

/// What `body` gives; what it throws as a `TSPEFTError`.
func reporting<Result>(_ body: () throws -> Result) throws(TSPEFTError) -> Result {
    do {
        return try body()
    } catch {
        throw TSPEFTError(error)
    }
}
