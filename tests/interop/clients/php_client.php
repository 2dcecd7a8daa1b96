<?php
// PHP's ext-soap. What is read and written here is told in README.md.

// With the word "rpc" after the address it does without the WSDL: it sends RPC, encoded.
$described = ($argv[2] ?? '') !== 'rpc';

function call(SoapClient $service, bool $described, string $operation, array $fields): mixed
{
    if ($described) {
        return $service->__soapCall($operation, [$fields])->{$operation . 'Response'} ?? null;
    }
    $parameters = [];
    foreach ($fields as $name => $value) {
        $parameters[] = new SoapParam($value, $name);
    }
    return $service->__soapCall($operation, $parameters);
}

function carry_out(Closure $call, array $words): array
{
    switch ($words[0]) {
        case 'place':
            $fields = ['entryId' => $words[1], 'DialString' => $words[2]];
            return ['call' => $call('PlayOnPhone', $fields)];
        case 'state':
            $info = $call('GetCallInfo', ['CallId' => $words[1]]);
            return ['state' => $info->CallState, 'cause' => $info->EventCause];
        case 'end':
            $call('Disconnect', ['CallId' => $words[1]]);
            return ['ended' => true];
    }
    throw new DomainException("no such command: $words[0]");
}

$service = $described
    ? new SoapClient($argv[1], ['cache_wsdl' => WSDL_CACHE_NONE])
    : new SoapClient(null, [
        'location' => strstr($argv[1], '?', true),
        'uri' => 'http://schemas.microsoft.com/exchange/services/2006/messages',
    ]);
$call = fn (string $operation, array $fields) => call($service, $described, $operation, $fields);
while (($line = fgets(STDIN)) !== false) {
    try {
        $answer = carry_out($call, explode("\t", rtrim($line, "\n")));
    } catch (SoapFault $fault) {
        $answer = ['fault' => [
            'type' => get_class($fault),
            'code' => $fault->faultcode,
            'text' => $fault->faultstring,
            'detail' => $fault->detail->ExceptionType ?? null,
        ]];
    }
    echo json_encode($answer), "\n";
}
