"""What the project is installed from: locked versions, known vulnerabilities, licences. Never imported by the rest."""
