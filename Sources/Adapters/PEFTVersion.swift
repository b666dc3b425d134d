import CheckpointIO
import Models

extension AdapterConfiguration {
    /// How the factors of packed experts lie, as far as the version of peft that wrote them tells: 0.19 exchanged them.
    /// A version on the way to it could be either, and so could what does not say its version: peft before 0.18, or
    /// another program.
    package var expertFactors: ExpertFactors {
        guard let text = otherFields[PEFTNames.versionField]?.stringValue else { return .unknown }
        // Such as "0.18.1", "0.19.0.dev0" and "0.19.0.dev0@2f7a...".
        let parts = text.split(whereSeparator: { $0 == "." || $0 == "@" || $0 == "+" })
        guard parts.count >= 2, let major = Int(parts[0]), let minor = Int(parts[1]) else { return .unknown }
        let isRelease = parts.count == 2 || Int(parts[2]) != nil && !text.contains("dev")
        if (major, minor) > (0, Self.exchangingMinor) || (major, minor) == (0, Self.exchangingMinor) && isRelease {
            return .byModule
        }
        return isRelease || minor < Self.exchangingMinor - 1 ? .alongFirstAxis : .unknown
    }

    /// The minor version of peft 0 that first asks the module which way its experts are stored.
    private static let exchangingMinor = 19
}
