import ArgumentParser

@main
struct TSPEFT: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "tspeft")
}
