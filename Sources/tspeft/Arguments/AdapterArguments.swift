import Adapters
import ArgumentParser
import TSPEFT

/// What a new adapter is, where `inject` makes it and where `train` does: what is asked for most.
struct AdapterArguments: ParsableArguments {
    @Option(
        help: """
            Adapter method: \(AdapterKind.methodNames.joined(separator: ", ")). \
            (default: \(InjectRequest.defaultMethod))
            """)
    var method: String?

    @Option(help: "Modules to adapt. (default: \(defaultTargets))")
    var targets: String?

    @OptionGroup
    var preset: PresetArguments

    /// The targets where none are given, and those of methods that have others.
    private static let defaultTargets: String = {
        let others = AdapterKind.allCases.compactMap { kind in
            kind.settings.defaultTargets.map { "\(kind) \($0.joined(separator: ","))" }
        }
        return ([Preset.csr.targets.joined(separator: ",")] + others).joined(separator: "; ")
    }()
}

/// Which modules a new adapter is put around, and where it comes from, beyond `--targets`.
struct AdapterPlaceArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Packed parameters of experts to adapt, such as mlp.experts.gate_up_proj,mlp.experts.down_proj: an update and "
                + "a gate for each expert. Without --targets nothing else is adapted. (default: none)",
            valueName: "names"))
    var targetParameters: String?

    @Option(help: "Modules to leave out, as --targets. (default: none)")
    var exclude: String?

    @Option(help: ArgumentHelp("Layers to adapt, such as 0-3,8. (default: all)", valueName: "layers"))
    var layers: String?

    @Option(
        help: ArgumentHelp(
            "Layers to train and save whole beside the adapter: lm_head, embed_tokens or both. (default: none)",
            valueName: "names"))
    var modulesToSave: String?

    @Option(
        help: ArgumentHelp(
            "Adapt only the modules of this selection of rank-modules. (default: all)", valueName: "file"),
        completion: .file())
    var select: String?

    @Option(
        help: ArgumentHelp(
            "Take the adapter of this peft directory in place of a new one. (default: none)",
            discussion: "With the gated form of its method as --method, it gets gates of tau = 0: the output stays "
                + "as it is, and 'tspeft train --only tau' learns the thresholds.",
            valueName: "directory"),
        completion: .directory)
    var fromPeft: String?
}

/// All that says what a new adapter is, but its seed.
struct NewAdapterArguments: ParsableArguments {
    @OptionGroup(title: "Adapter")
    var adapter: AdapterArguments

    @OptionGroup(title: "Adapter")
    var numbers: MethodArguments<CommonNumbers>

    @OptionGroup(title: "Adapter, further")
    var place: AdapterPlaceArguments

    @OptionGroup(title: "LoRA, DoRA and AdaLoRA")
    var lowRank: MethodArguments<LowRankNumbers>

    @OptionGroup(title: "AdaLoRA")
    var adalora: MethodArguments<AdaLoRANumbers>

    @OptionGroup(title: "Parallel adapter, VeRA and IA3")
    var others: MethodArguments<OtherNumbers>

    /// The numbers that were given, of all groups.
    var options: MethodOptions {
        [lowRank.options, adalora.options, others.options].reduce(numbers.options) { all, part in
            part.given.reduce(into: all) { $0[$1.key] = part[$1.key] }
        }
    }

    /// The options that were given and that an adapter which is there already answers itself.
    var given: [String] {
        let own: [(String, Bool)] = [
            ("--method", adapter.method != nil), ("--targets", adapter.targets != nil),
            ("--target-parameters", place.targetParameters != nil), ("--exclude", place.exclude != nil),
            ("--layers", place.layers != nil),
            ("--modules-to-save", place.modulesToSave != nil), ("--select", place.select != nil),
            ("--from-peft", place.fromPeft != nil),
        ]
        return own.filter(\.1).map(\.0) + options.given.map { OptionWords.option(ofMethodKey: $0.key) }
    }

    /// Puts what was given into a request.
    func apply(to request: inout InjectRequest) throws {
        request.method = adapter.method
        request.adapterPath = place.fromPeft
        request.preset = try adapter.preset.settings
        request.options = options
        request.targets = adapter.targets
        request.targetParameters = (place.targetParameters ?? "").split(separator: ",").map(String.init)
        request.excluded = place.exclude
        request.layers = try place.layers.map(parseLayers)
        request.modulesToSave = (place.modulesToSave ?? "").split(separator: ",").map(String.init)
        request.selectionPath = place.select
    }
}

/// The largest number of a layer that is thought of; a range is written out, so that there must be one.
private let layerLimit = 100_000

/// Layers from text such as `0-3,8`.
private func parseLayers(_ text: String) throws -> [Int] {
    try text.split(separator: ",", omittingEmptySubsequences: false).flatMap { part -> [Int] in
        let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        if let last = ends.last, let last, last > layerLimit {
            throw ValidationError("--layers \(text): no layer has a number above \(layerLimit), such as \(last)")
        }
        switch ends.count {
        case 1: if let layer = ends[0], layer >= 0 { return [layer] }
        case 2: if let first = ends[0], let last = ends[1], first >= 0, first <= last { return Array(first...last) }
        default: break
        }
        throw ValidationError("--layers \(text): '\(part)' is no layer or range of layers")
    }
}
