import CheckpointIO
import TensorCore

/// The README.md of an adapter directory: what peft and model hubs read at its head, and what a person wants to know.
enum ModelCard {
    /// The card of `adapter`.
    static func text(of adapter: AdapterDirectory) -> String {
        let configuration = adapter.configuration
        // A path of the machine that it was made on means nothing elsewhere, and is nobody's business.
        let base = configuration.baseModelPath.flatMap { isLocal($0) ? nil : $0 }
        let baseName = configuration.baseModelPath.map(publicName)
        var lines = ["---"]
        if let base { lines.append("base_model: \(JSONValue.string(base).text())") }
        lines.append("library_name: \(configuration.isGated ? "tspeft" : "peft")")
        if configuration.taskType == "CAUSAL_LM" { lines.append("pipeline_tag: text-generation") }
        lines.append("tags:")
        if let base { lines.append("- \(JSONValue.string("base_model:adapter:" + base).text())") }
        lines.append("- \(configuration.methodName)")
        if configuration.isGated { lines.append("- token-sparse") }
        lines += ["---", "", "# \(configuration.methodName) adapter" + (baseName.map { " for \($0)" } ?? ""), ""]
        lines += table(of: adapter)
        lines += [""] + usage(of: adapter)
        if let training = adapter.training?.objectValue, training.count > 0 { lines += [""] + self.training(training) }
        if !adapter.history.isEmpty {
            lines += ["", "## History", ""]
            lines += adapter.history.map { "- " + oneLine($0) }
        }
        lines += ["", "Written by tspeft \(ToolVersion.current).", ""]
        return lines.joined(separator: "\n")
    }

    /// Whether a base is named by a path of this machine: the name of a model on the Hub has no leading slash or dot, one
    /// slash at most, and is no folder here.
    private static func isLocal(_ path: String) -> Bool {
        let slashes = path.utf8.count { $0 == UInt8(ascii: "/") }
        return slashes > 1 || path.hasPrefix("/") || path.hasPrefix(".") || path.hasPrefix("~")
            || path.hasSuffix("/") || pathKind(path) != .nothing
    }

    /// A text that may be a path, as others may see it: of a path its last part.
    private static func publicName(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "/")), isLocal(text), !text.utf8.contains(UInt8(ascii: " "))
        else { return text }
        return lastPathComponent(text)
    }

    private static func table(of adapter: AdapterDirectory) -> [String] {
        let configuration = adapter.configuration
        var rows: [(String, String)] = [
            ("method", configuration.methodName)
        ]
        rows += adapter.methodFacts.map { ($0.name, $0.value) }
        rows += [
            ("dropout in training", number(configuration.dropout)),
            ("targets", "\(adapter.modules.count) modules: " + targetNames(adapter)),
        ]
        if !adapter.savedModules.isEmpty {
            rows.append(("trained whole", configuration.modulesToSave.joined(separator: ", ")))
        }
        rows += [
            ("parameters", "\(adapter.parameterCount)")
        ]
        if configuration.isGated {
            let taus = adapter.modules.compactMap { adapter.threshold($0) }
            if let lowest = taus.min(), let highest = taus.max() {
                rows.append(("tau", "\(lowest) to \(highest)"))
            }
            if let statistics = adapter.statistics {
                let sparsities = statistics.modules.compactMap { configuration.sparsity(of: $0) }
                rows.append(
                    (
                        "sparsity",
                        "mean \(percent(configuration.meanSparsity(statistics.modules))) (\(percent(sparsities.min() ?? 0)) to "
                            + "\(percent(sparsities.max() ?? 0))) over \(statistics.tokens) tokens of \(statistics.source)"
                    ))
            } else {
                rows.append(("sparsity", "not measured yet"))
            }
        }
        return ["| | |", "|---|---|"] + rows.map { "| \($0.0) | \(escaped($0.1)) |" }
    }

    private static func usage(of adapter: AdapterDirectory) -> [String] {
        let base = adapter.configuration.baseModelPath.map(publicName) ?? "BASE"
        var lines = ["## Use", ""]
        if adapter.configuration.isGated {
            lines += [
                "Each adapted projection has a threshold tau: the update M(x) of a token is applied where",
                "|M(x)| / |W0 x| >= tau and skipped elsewhere (arXiv 2511.16147). peft does not know such gates and refuses",
                "this directory; run the adapter, or merge it into a plain checkpoint, with tspeft:",
            ]
        } else if !adapter.configuration.kind.settings.isInPEFT {
            lines += ["peft has no parallel adapters (LLM-Adapters, a fork of it, has); tspeft runs this one:"]
        } else {
            lines += ["This is a plain peft adapter; peft loads it, and so does tspeft:"]
        }
        lines += [
            "",
            "Generating continues a text with it, merging writes a checkpoint that needs no adapter. Both take the base,",
            "\(base), and this directory as the adapter. How to say that is told by", "",
            "    tspeft help generate", "    tspeft help merge",
        ]
        return lines
    }

    private static func training(_ members: JSONObject) -> [String] {
        let plain = members.members.filter { member in
            switch member.value {
            case .object, .array, .null: false
            default: true
            }
        }
        return ["## Training", "", "| | |", "|---|---|"]
            + plain.map {
                "| \(escaped($0.key)) | \(escaped($0.value.stringValue.map(publicName) ?? $0.value.text())) |"
            }
    }

    /// The last components of the modules' paths, each once.
    private static func targetNames(_ adapter: AdapterDirectory) -> String {
        var names: [String] = []
        for module in adapter.modules {
            let name = module.split(separator: ".").last.map(String.init) ?? module
            if !names.contains(where: name.hasSameBytes(as:)) { names.append(name) }
        }
        return names.joined(separator: ", ")
    }

    private static func oneLine(_ event: JSONValue) -> String {
        guard let members = event.objectValue?.members else { return event.text() }
        return members.compactMap { member in
            switch member.value {
            case .object, .array: nil
            default: "\(member.key): \(member.value.stringValue.map(publicName) ?? member.value.text())"
            }
        }.joined(separator: ", ")
    }

    private static func number(_ value: Double) -> String { Int(exactly: value).map(String.init) ?? "\(value)" }

    private static func percent(_ fraction: Double) -> String {
        let tenths = Int((1000 * fraction).rounded())
        return "\(tenths / 10).\(tenths % 10) %"
    }

    /// A cell's text: a bar or a line break would end the cell.
    private static func escaped(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: " ")
            .split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
    }
}
